use realtime_core::{Error, Receipt, Result};

/// What each of several providers answered; one may fail while another has delivered.
#[must_use = "a provider may have failed"]
#[derive(Debug)]
pub struct Outcomes<T = Receipt> {
    each: Vec<(String, Result<T>)>,
}

impl<T> Outcomes<T> {
    pub(crate) fn new(each: Vec<(String, Result<T>)>) -> Self {
        Self { each }
    }

    /// The providers' names with their answers, in the order asked.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<T>)> {
        self.each.iter().map(|(name, result)| (name.as_str(), result))
    }

    /// One provider's answer.
    pub fn of(&self, provider: &str) -> Option<&Result<T>> {
        self.iter().find(|(name, _)| *name == provider).map(|(_, result)| result)
    }

    /// Whether every provider succeeded.
    pub fn is_ok(&self) -> bool {
        self.each.iter().all(|(_, result)| result.is_ok())
    }

    /// Every provider's value, or the first error; the other providers have done their part all the same.
    ///
    /// # Errors
    /// The first provider's that failed.
    pub fn into_result(self) -> Result<Vec<T>, Error> {
        self.each.into_iter().map(|(_, result)| result).collect()
    }
}

impl<T> IntoIterator for Outcomes<T> {
    type Item = (String, Result<T>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.each.into_iter()
    }
}
