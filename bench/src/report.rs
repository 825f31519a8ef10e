//! The output of a program: tables, what was required and does not hold, and with that its exit
//! code.

/// The printed output of a program: the current table has one name at the left, figures under their
/// titles at the right.
#[derive(Debug, Default)]
pub struct Report {
    widths: Vec<usize>,
    failed: bool,
}

impl Report {
    /// Begins a table, and prints its header; the first column is at least `width` characters wide.
    pub fn table(&mut self, width: usize, titles: &[&str]) {
        self.widths = titles.iter().map(|title| title.chars().count()).collect();
        if let Some(first) = self.widths.first_mut() {
            *first = width.max(*first);
        }
        self.row(titles);
    }

    /// Prints a row of the current table.
    pub fn row(&self, cells: &[impl AsRef<str>]) {
        println!("{}", self.line(cells));
    }

    fn line(&self, cells: &[impl AsRef<str>]) -> String {
        let mut line = String::new();
        for (number, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            let cell = cell.as_ref();
            line += &if number == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
        }
        line.trim_end().to_owned()
    }

    /// Prints the requirement if it does not hold, and remembers that.
    pub fn require(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("            FAILED: {what}");
            self.failed = true;
        }
    }

    /// Requires that a figure is within its budget.
    pub fn within(&mut self, figure: f64, budget: f64, what: &str) {
        self.require(figure <= budget, &format!("{what}: {figure:.2} is over the budget of {budget:.2}"));
    }

    /// Returns whether every requirement has held.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_at_the_right_under_their_titles() {
        let mut report = Report::default();
        report.table(5, &["of", "CPU µs", "n"]);
        assert_eq!(report.line(&["ws", "1.5", "12"]), "ws        1.5  12");
        assert_eq!(report.line(&["socket", "", ""]), "socket");
    }
}
