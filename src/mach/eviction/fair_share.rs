//! From which pager pages are taken when room is needed: weights and floors.

/// A pager's claim on the memory of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How much it may hold in relation to the others; 0 counts as 1.
    pub weight: u32,
    /// Pages that are only taken when no pager holds more than its floor.
    pub floor: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 16, floor: 0 }
    }
}

/// The number of a pager among those that share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member(pub u32);

/// From whom to take, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// The pager.
    pub member: Member,
    /// Pages, at least one.
    pub pages: u64,
}

/// Decides whose pages go: those of the pager that holds most above its floor for its weight.
///
/// A tournament tree: a change costs the logarithm of the number of pagers, a decision nothing.
#[derive(Debug, Default)]
pub struct FairShare {
    seats: Vec<Seat>,
    vacant: Vec<u32>,
    /// Winner of every match; the root is at 1, the seats' places start at half of the length.
    winners: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    share: Share,
    resident: u64,
    taken: bool,
}

impl Seat {
    /// What is compared: pages above the floor per weight, then pages at all.
    fn pressure(&self) -> (u64, u64) {
        let weight = u64::from(self.share.weight.max(1));
        let above = self.resident.saturating_sub(self.share.floor);
        (above.saturating_mul(1 << 16) / weight, self.resident)
    }
}

impl FairShare {
    /// A new pager, with no page yet.
    pub fn join(&mut self, share: Share) -> Member {
        let seat = Seat {
            share,
            resident: 0,
            taken: true,
        };
        let at = self.vacant.pop().unwrap_or(self.seats.len() as u32);
        match self.seats.get_mut(at as usize) {
            Some(vacant) => *vacant = seat,
            None => self.seats.push(seat),
        }
        if self.seats.len() * 2 > self.winners.len() {
            self.rebuild();
        }
        self.play(at);
        Member(at)
    }

    /// A pager is gone; its number may be given to another.
    pub fn leave(&mut self, member: Member) {
        let Some(seat) = self.seat(member) else { return };
        *seat = Seat::default();
        self.vacant.push(member.0);
        self.play(member.0);
    }

    /// Changes what a pager may hold.
    pub fn set_share(&mut self, member: Member, share: Share) {
        let Some(seat) = self.seat(member) else { return };
        seat.share = share;
        self.play(member.0);
    }

    /// Says how many pages a pager holds.
    pub fn set_resident(&mut self, member: Member, pages: u64) {
        let Some(seat) = self.seat(member) else { return };
        seat.resident = pages;
        self.play(member.0);
    }

    /// From whom to take up to `want` pages; `None` if nobody holds any.
    ///
    /// Floors give way when every pager is at or below its own: the bound of the bucket is hard.
    pub fn pick(&self, want: u64) -> Option<Take> {
        let at = *self.winners.get(1)?;
        let seat = self.seats.get(at as usize)?;
        let above = seat.resident.saturating_sub(seat.share.floor);
        let most = if above > 0 { above } else { seat.resident };
        let pages = most.min(want);
        (pages > 0).then_some(Take {
            member: Member(at),
            pages,
        })
    }

    /// True if `one` holds almost as much above its floor for its weight as `other`.
    pub fn is_near(&self, one: Member, other: Member) -> bool {
        let [one, other] = [one, other].map(|member| self.pressure(member.0).0);
        one > 0 && one >= other - other / 16
    }

    fn seat(&mut self, member: Member) -> Option<&mut Seat> {
        self.seats.get_mut(member.0 as usize).filter(|seat| seat.taken)
    }

    fn rebuild(&mut self) {
        let places = self.seats.len().next_power_of_two();
        self.winners = vec![0; places * 2];
        for place in 0..places {
            self.winners[places + place] = place as u32;
        }
        for at in (1..places).rev() {
            self.winners[at] = self.winner(at);
        }
    }

    /// Plays the matches of one seat again, up to the root.
    fn play(&mut self, seat: u32) {
        let mut at = (self.winners.len() / 2 + seat as usize) / 2;
        while at > 0 {
            self.winners[at] = self.winner(at);
            at /= 2;
        }
    }

    fn winner(&self, at: usize) -> u32 {
        let (left, right) = (self.winners[at * 2], self.winners[at * 2 + 1]);
        if self.pressure(right) > self.pressure(left) {
            right
        } else {
            left
        }
    }

    fn pressure(&self, seat: u32) -> (u64, u64) {
        self.seats.get(seat as usize).map_or((0, 0), Seat::pressure)
    }
}
