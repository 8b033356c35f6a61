//! Requests that wait for their answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use protocol::peer::PeerResponse;
use tokio::sync::oneshot;

struct Pending {
    /// The connection that it went out on; an answer on another one is not its answer.
    link: u64,
    answer: oneshot::Sender<PeerResponse>,
}

#[derive(Default)]
pub(super) struct Requests {
    last: Cell<u64>,
    pending: RefCell<HashMap<u64, Pending>>,
}

/// Forgets the request when nobody waits any more.
pub(super) struct Waiting {
    id: u64,
    requests: Rc<Requests>,
    pub answer: oneshot::Receiver<PeerResponse>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.requests.pending.borrow_mut().remove(&self.id);
    }
}

impl Requests {
    /// An id that was not used before in this process.
    pub fn next_id(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    pub fn wait(self: &Rc<Self>, id: u64, link: u64) -> Waiting {
        let (sender, answer) = oneshot::channel();
        let before = self.pending.borrow_mut().insert(
            id,
            Pending {
                link,
                answer: sender,
            },
        );
        assert!(before.is_none(), "request ids are never reused");
        Waiting {
            id,
            requests: Rc::clone(self),
            answer,
        }
    }

    /// An answer that nobody waits for is dropped: its asker gave up.
    pub fn answer(&self, link: u64, response: PeerResponse) {
        let mut pending = self.pending.borrow_mut();
        if pending
            .get(&response.id)
            .is_some_and(|pending| pending.link == link)
            && let Some(found) = pending.remove(&response.id)
        {
            // Its asker may be gone in this very moment.
            let _ = found.answer.send(response);
        }
    }

    /// The connection is gone: its askers learn that no answer will come.
    pub fn disconnect(&self, link: u64) {
        self.pending
            .borrow_mut()
            .retain(|_, pending| pending.link != link);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pending.borrow().len()
    }
}
