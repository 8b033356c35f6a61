use crate::wire::{DecodeError, Encoder, Reader};
use raft::types::{DirectoryId, NodeId};

/// "WLSR".
const MAGIC: u32 = 0x574c_5352;

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest.
    pub min: u8,
    /// Highest.
    pub max: u8,
}

impl VersionRange {
    /// The highest version of both; none means a refusal that names both ranges.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u8> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        (min <= max).then_some(max)
    }
}

/// Where a broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Who a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions that it speaks after the greeting.
    pub versions: VersionRange,
    /// The cluster's id; 0 for none yet: then only formation and registration pass.
    pub cluster: u128,
    /// Its node id.
    pub node: NodeId,
    /// Its data directory: a wiped disk has another one.
    pub directory: DirectoryId,
    /// Of the configuration that must be the same on all nodes.
    pub fingerprint: u64,
    /// Random for each life of the process.
    pub boot: u64,
    /// Where clients are told to find it.
    pub kafka: Endpoint,
    /// Where other brokers find it.
    pub peer: Endpoint,
}

/// Why there is no conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// No common version.
    Version = 1,
    /// Another cluster.
    Cluster = 2,
    /// Another cluster configuration.
    Fingerprint = 3,
    /// The node id belongs to another data directory.
    Identity = 4,
    /// Not ready to talk; to be tried again.
    NotReady = 5,
    /// What a later version says; its text explains.
    Other = 255,
}

/// A refusal. It names what both sides have, for the log of the refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For the program.
    pub reason: Reason,
    /// For the reader of the log.
    pub text: String,
}

impl Hello {
    pub(super) fn encode(&self, e: &mut Encoder) {
        e.uint32(MAGIC);
        e.uint8(self.versions.min);
        e.uint8(self.versions.max);
        e.raw(&self.cluster.to_be_bytes());
        e.int32(self.node.0);
        e.raw(&self.directory.0.to_be_bytes());
        e.uint64(self.fingerprint);
        e.uint64(self.boot);
        encode_endpoint(&self.kafka, e);
        encode_endpoint(&self.peer, e);
    }

    pub(super) fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let magic = r.uint32()?;
        if magic != MAGIC {
            return Err(DecodeError::Unknown {
                field: "peer magic",
                value: magic.into(),
            });
        }
        Ok(Self {
            versions: VersionRange {
                min: r.uint8()?,
                max: r.uint8()?,
            },
            cluster: r.uuid()?.0,
            node: NodeId(r.int32()?),
            directory: DirectoryId(r.uuid()?.0),
            fingerprint: r.uint64()?,
            boot: r.uint64()?,
            kafka: decode_endpoint(r)?,
            peer: decode_endpoint(r)?,
        })
    }
}

impl Refused {
    pub(super) fn encode(&self, e: &mut Encoder) {
        e.uint32(MAGIC);
        e.uint8(self.reason as u8);
        e.string(&self.text, false, "text");
    }

    pub(super) fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let magic = r.uint32()?;
        if magic != MAGIC {
            return Err(DecodeError::Unknown {
                field: "peer magic",
                value: magic.into(),
            });
        }
        let reason = match r.uint8()? {
            1 => Reason::Version,
            2 => Reason::Cluster,
            3 => Reason::Fingerprint,
            4 => Reason::Identity,
            5 => Reason::NotReady,
            _ => Reason::Other,
        };
        Ok(Self {
            reason,
            text: r.string(false, "text")?.to_string(),
        })
    }
}

fn encode_endpoint(endpoint: &Endpoint, e: &mut Encoder) {
    e.string(&endpoint.host, false, "host");
    e.int16(endpoint.port.cast_signed());
}

fn decode_endpoint(r: &mut Reader) -> Result<Endpoint, DecodeError> {
    let host = r.string(false, "host")?.to_string();
    Ok(Endpoint {
        host,
        port: r.int16()?.cast_unsigned(),
    })
}
