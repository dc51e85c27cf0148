//! What the reference model has done to the real instances and the real store.

use super::{
    super::stage::Outcome, life::Who, tampering::Tampering, transition::Fate, truth::Truth,
};

/// One thing to do. It is told after the model knows of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Born {
        who: Who,
    },
    Dies {
        who: Who,
    },
    Observes {
        who: Who,
    },
    /// A report is made and meets its fate; `applied` is what must become of it, if that is certain.
    Sends {
        who: Who,
        farewell: bool,
        fate: Fate,
        applied: Option<bool>,
    },
    /// A held report arrives; it may arrive again if it is kept.
    Arrives {
        which: usize,
        keep: bool,
        applied: Option<bool>,
    },
    HeldAreLost,
    Listens {
        who: Who,
    },
    StoreIsAway,
    TimePasses {
        ms: u64,
    },
    ClockJumps {
        ms: i64,
    },
    Flush,
    Save,
    RollBack,
    Tamper(Tampering),
}

/// Receives every deed, together with the truth after it.
pub(super) type Audience<'a> = &'a mut dyn FnMut(&Truth, Deed) -> Outcome;
