//! Payloads that compress as what people write does.

/// How many words there are.
const WORDS: usize = 1_500;
/// Letters about as often as in English.
const LETTERS: &[u8] = b"eeeeeettttaaaaooooiiiinnnnssssrrrhhhlllddduuccmmffggppwwyybbvk";
/// Of words whose number is drawn, the one in so many that ends a sentence.
const SENTENCE: u64 = 12;

/// Sentences of made-up words of 2 to 10 letters, whose frequencies fall as one over their rank (Zipf). The same bytes
/// every time.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let word = |_| {
        let length = 2 + draw.below(5) + draw.below(5);
        (0..length)
            .map(|_| LETTERS[draw.below(LETTERS.len() as u64)])
            .collect()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(word).collect();
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        // The logarithm of a rank that is distributed so is even.
        let rank = (WORDS as f64).powf(draw.share()) - 1.0;
        text.extend_from_slice(&words[(rank as usize).min(WORDS - 1)]);
        let end: &[u8] = if draw.below(SENTENCE) == 0 {
            b".\n"
        } else {
            b" "
        };
        text.extend_from_slice(end);
    }
    text.truncate(bytes);
    text
}

/// Xorshift: numbers that look like any.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from((self.next() >> 33) % bound).expect("it is below a small bound")
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn ratio(raw: &[u8]) -> f64 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        encoder.write_all(raw).unwrap();
        raw.len() as f64 / encoder.finish().unwrap().len() as f64
    }

    #[test]
    fn it_compresses_two_to_three_times_however_often_it_is_repeated() {
        let one = text(100_000);
        assert_eq!(one.len(), 100_000);
        let alone = ratio(&one);
        assert!((2.0..3.0).contains(&alone), "{alone}");
        // Deflate looks back for 32 KiB: a record says nothing about the next one.
        let ten = ratio(&one.repeat(10));
        assert!((ten - alone).abs() < 0.1, "{ten}, {alone}");
    }
}
