//! The outcome of a program: printed where a condition fails, and turned into its exit code.

/// `true` while every condition has held.
#[derive(Clone, Copy, Debug)]
pub struct Verdict(bool);

impl Verdict {
    /// Creates the verdict of a program that has not checked anything.
    pub fn new() -> Self {
        Self(true)
    }

    /// Prints the requirement if it does not hold, and remembers that.
    pub fn require(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("            FAILED: {what}");
            self.0 = false;
        }
    }

    /// Requires that a figure is within its budget.
    pub fn within(&mut self, figure: f64, budget: f64, what: &str) {
        self.require(figure <= budget, &format!("{what}: {figure:.2} is over the budget of {budget:.2}"));
    }

    /// Returns whether every condition has held.
    pub fn holds(self) -> bool {
        self.0
    }
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new()
    }
}
