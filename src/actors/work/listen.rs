//! Listening to the kernel.

use std::task::Context;

use super::{Condition, PagerWork};
use crate::actors::courtesy::Found;

/// Whoever finds more than this at once shares one sleep among so many that it saves nothing, and threads of other
/// processors wait meanwhile.
const FEW: usize = 2;

impl PagerWork {
    /// Takes the kernel's news, unless none is wanted now; the kernel calls when there is more. True if
    /// the engine wants another turn all the same.
    pub(crate) fn poll_kernel(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_deaf() {
            return false;
        }
        // Whether there was news says nothing about what comes: the kernel calls.
        self.turn(|engine| {
            let _ = engine.poll_kernel(cx);
        });
        self.tell_mapped();
        !self.is_deaf() && self.parts.engine.wants_turn()
    }

    /// Looks for news before the kernel calls, and takes it in.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>) -> Found {
        if self.is_deaf() {
            return Found::Nothing;
        }
        let mut found = 0;
        self.turn(|engine| {
            found = engine.look();
            if found > 0 {
                let _ = engine.poll_kernel(cx);
            }
        });
        if found == 0 {
            return Found::Nothing;
        }
        self.tell_mapped();
        if self.is_deaf() {
            Found::Nothing
        } else if found <= FEW || self.flying() > 0 {
            // Where jobs are under way, workers that share the processor had their turn as well.
            Found::Some
        } else {
            Found::Plenty
        }
    }

    /// True while no news of the kernel is wanted.
    fn is_deaf(&self) -> bool {
        self.condition == Condition::Stunned || self.has_ended()
    }

    /// Tells users of their mappings, now that what the kernel said of them was heard.
    fn tell_mapped(&mut self) {
        for (reply, mapped) in self.mapped.drain(..) {
            // A user who stopped waiting wants no answer.
            let _ = reply.send(mapped);
        }
    }
}
