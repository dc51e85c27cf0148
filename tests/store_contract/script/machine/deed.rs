//! The actions that the reference model requests from the real instances and the real store.

use super::{
    super::stage::Outcome, life::Who, tampering::Tampering, transition::Fate, truth::Truth,
};

/// One action. The model has applied it before it is passed on.
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
    /// A report is made and delivered as its fate says. `applied` is whether it must be applied, if
    /// that is certain.
    Sends {
        who: Who,
        farewell: bool,
        fate: Fate,
        applied: Option<bool>,
    },
    /// A held report arrives. It may arrive again if it is kept.
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

/// Called for every action, together with the truth after it.
pub(super) type Audience<'a> = &'a mut dyn FnMut(&Truth, Deed) -> Outcome;
