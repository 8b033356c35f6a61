use bytes::Bytes;

/// Bytes in several pieces that follow each other on the wire: the batches of one fetched
/// partition.
///
/// Equality compares the contents, not how they are cut.
#[derive(Clone, Debug, Default)]
pub struct Slices(Vec<Bytes>);

impl Slices {
    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    /// The length of all pieces, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// There is not one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The pieces.
    #[must_use]
    pub fn as_slice(&self) -> &[Bytes] {
        &self.0
    }

    /// All in one piece; copies when there are several.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.swap_remove(0),
            _ => self.0.concat().into(),
        }
    }
}

impl From<Bytes> for Slices {
    fn from(piece: Bytes) -> Self {
        Self(vec![piece])
    }
}

impl From<Vec<Bytes>> for Slices {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

impl PartialEq for Slices {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl Eq for Slices {}
