use realtime_testkit::SeededRng;

/// A generator of inputs from those of a corpus, by the usual small changes; without coverage.
#[derive(Debug)]
pub(crate) struct Generator {
    rng: SeededRng,
    corpus: Vec<Vec<u8>>,
}

/// The longest input, in bytes.
const MAX: usize = 4096;

/// Bytes with which the formats begin, separate, end or escape something.
const SPECIAL: &[u8] = b"\0\n\r\t \"%&+,-./0129:;<=>?[\\]{}~\x1e\x7f\x80\x81\x85\x88\x89\x8b\xa8\xc2\xe2\xed\xf0\xff";

impl Generator {
    /// Creates a generator over these inputs.
    pub(crate) fn new(rng: SeededRng, corpus: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let corpus = corpus.into_iter().filter(|input| !input.is_empty()).collect();
        Self { rng, corpus }
    }

    /// Returns the next input.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut input = self.kept();
        for _ in 0..=self.rng.below(5) {
            self.change(&mut input);
        }
        input.truncate(MAX);
        input
    }

    fn kept(&mut self) -> Vec<u8> {
        if self.corpus.is_empty() { Vec::new() } else { self.corpus[self.rng.below(self.corpus.len())].clone() }
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.below(input.len() + 1);
        let end = at + self.rng.below(input.len() - at + 1);
        match self.rng.below(8) {
            0 => input.insert(at, self.rng.number() as u8),
            1 => input.insert(at, SPECIAL[self.rng.below(SPECIAL.len())]),
            2 if at < input.len() => input[at] ^= 1 << self.rng.below(8),
            3 if at < input.len() => input[at] = SPECIAL[self.rng.below(SPECIAL.len())],
            4 => drop(input.drain(at..end)),
            5 => {
                let part = input[at..end].to_vec();
                let times = 1 + self.rng.below(4);
                (0..times).for_each(|_| drop(input.splice(at..at, part.iter().copied())));
            }
            6 => {
                let other = self.kept();
                let from = self.rng.below(other.len() + 1);
                let to = from + self.rng.below(other.len() - from + 1);
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}
