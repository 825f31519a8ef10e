//! The tables that the programs print.

/// A table whose header is printed: one name at the left, figures under their titles at the right.
#[derive(Debug)]
pub struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// Prints the header; the first column is at least `width` characters wide.
    pub fn new(width: usize, titles: &[&str]) -> Self {
        let mut widths: Vec<_> = titles.iter().map(|title| title.chars().count()).collect();
        if let Some(first) = widths.first_mut() {
            *first = width.max(*first);
        }
        let table = Self { widths };
        println!("{}", table.line(titles));
        table
    }

    /// Prints a row.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_at_the_right_under_their_titles() {
        let table = Table::new(5, &["of", "CPU µs", "n"]);
        assert_eq!(table.line(&["ws", "1.5", "12"]), "ws        1.5  12");
        assert_eq!(table.line(&["socket", "", ""]), "socket");
    }
}
