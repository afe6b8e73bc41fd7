//! What happens although nobody asked for it.

use super::{Failure, World};
use crate::stream::tests::simulation::server::LinkId;

// === impl World ===

impl World {
    /// A client finds its connection gone.
    pub(super) fn lost(&mut self, number: usize, id: LinkId) {
        if self.clients[number].link == Some(id) {
            self.trace
                .of(self.start, self.now, number, || format!("lost {id}"));
            self.clients[number].disconnect(self.now);
        }
    }

    /// Something that nobody asked for.
    pub(super) fn fate(&mut self) -> Result<(), Failure> {
        let pause = if self.random.once_in(3) {
            (0, 50)
        } else {
            (100, 6_000)
        };
        self.fate = Some(self.now + self.random.millis(pause.0, pause.1));
        match self.random.below(30) {
            0..=21 => {
                let mut what = self.desired.change();
                while self.random.once_in(3) {
                    what = format!("{what}; {}", self.desired.change());
                }
                self.publish();
                self.trace.note(self.start, self.now, || what);
                return self.flush_all();
            }
            22..=25 => self.cut(),
            26 => self.kill(),
            27 => self.heartbeat = None,
            28 => self.heartbeat = Some(self.now),
            _ => {
                self.desired.mend();
                self.publish();
                return self.flush_all();
            }
        }
        Ok(())
    }

    /// A connection breaks. The server may not notice for a while.
    fn cut(&mut self) {
        let number = self.random.index(self.clients.len());
        let Some(id) = self.clients[number].link else {
            return;
        };
        let noticed = if self.random.once_in(2) { 5 } else { 15_000 };
        let delay = self.random.millis(0, noticed);
        if let Some(link) = self.links.get_mut(&id) {
            link.cut();
            link.server_learns = Some(self.now + delay);
            link.client_learns = None;
        }
        self.lost(number, id);
    }

    fn kill(&mut self) {
        if !self.server.up {
            return;
        }
        self.trace
            .note(self.start, self.now, || "the server is killed".to_owned());
        self.server.kill();
        self.load = None;
        self.restart = Some(self.now + self.random.millis(50, 15_000));
        for (id, link) in std::mem::take(&mut self.links) {
            self.lost(link.client, id);
        }
    }
}
