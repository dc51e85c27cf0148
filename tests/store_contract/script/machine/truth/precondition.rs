//! Which transitions are possible now. Proptest asks again when it shortens a history.

use super::{Trust, Truth};
use crate::script::machine::{
    life::Who,
    tampering::Tampering,
    transition::{Fate, Transition},
};

impl Truth {
    /// Whether this transition is possible now.
    pub(in super::super) fn allows(&self, transition: &Transition) -> bool {
        let lives = |who: Who| self.lives.get(who).is_some_and(|life| life.is_living);
        let has_others = self.living().count() > 1;
        match *transition {
            Transition::Report { who, fate, .. } => {
                lives(who) && !self.lives[who].is_cut && self.may_meet(fate)
            }
            Transition::Farewell { who, fate } => {
                lives(who) && !self.lives[who].is_cut && has_others && self.may_meet(fate)
            }
            Transition::Die { who } => lives(who) && has_others,
            Transition::Cut { who } => lives(who) && !self.lives[who].is_cut,
            Transition::Mend { who } => lives(who) && self.lives[who].is_cut,
            Transition::Arrive { which, .. } => which < self.held.len(),
            Transition::RollBack => self.saved.is_some(),
            Transition::Listen { who, .. }
            | Transition::Tamper(Tampering::Field { owner: Some(who), .. }) => lives(who),
            Transition::Birth { fate, .. } => self.living().count() < 6 && self.may_meet(fate),
            Transition::Rest => self.living().all(|who| !self.lives[who].is_cut),
            _ => true,
        }
    }

    /// An instance that finds its name taken, because of an edit, reports under a new name. A report that was
    /// held back would then come from an unknown instance.
    fn may_meet(&self, fate: Fate) -> bool {
        self.trust < Trust::Edited || !matches!(fate, Fate::Held { .. })
    }
}
