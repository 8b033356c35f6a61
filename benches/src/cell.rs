//! The cells: what is offered to the cluster, one after the other.

/// How the requests of a cell are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offered {
    /// Every connection keeps so many requests on the way.
    Closed {
        /// Requests on the way per connection, at least 1.
        inflight: usize,
    },
    /// So many requests a second over all connections, whatever comes back.
    Open {
        /// Requests per second, above 0.
        rate: f64,
    },
    /// Open loop at half of what the named earlier cell of the run reached.
    OpenAtHalfOf {
        /// Name of a cell that stands before this one.
        cell: &'static str,
    },
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Short and unique within a run.
    pub name: &'static str,
    /// Partitions of the cell's own topic.
    pub partitions: i32,
    /// Payload of each record, one record a request; at least 8.
    pub size_bytes: usize,
    /// Connections, spread over the leaders of the partitions.
    pub connections: usize,
    /// How they offer their requests.
    pub offered: Offered,
}

/// The cells that the goals are ratios of.
#[must_use]
pub fn suite() -> Vec<Cell> {
    let cell = |name, partitions, size_bytes, connections, inflight| Cell {
        name,
        partitions,
        size_bytes,
        connections,
        offered: Offered::Closed { inflight },
    };
    vec![
        cell("1k-x1", 1, 1 << 10, 1, 1),
        cell("1k-x64", 1, 1 << 10, 1, 64),
        cell("64k-x16", 1, 64 << 10, 1, 16),
        cell("1k-64x1-48p", 48, 1 << 10, 64, 1),
        cell("1k-12x5-48p", 48, 1 << 10, 12, 5),
        Cell {
            name: "1k-open-48p",
            partitions: 48,
            size_bytes: 1 << 10,
            connections: 12,
            offered: Offered::OpenAtHalfOf {
                cell: "1k-12x5-48p",
            },
        },
        cell("1k-64x1-999p", 999, 1 << 10, 64, 1),
    ]
}
