//! What may happen, and how often: to instances, to their messages, to the server's clock and to its data.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::{
    life::Who,
    tampering::{Tampering, tampering},
    truth::{Trust, Truth},
};

/// How a history begins, and which kinds of harm it may contain.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) harm: Harm,
    /// The users of the first instances, and how long after each the next one is born.
    pub(super) first: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Harm {
    /// Instances come and go, and are cut off.
    deaths: bool,
    /// The server forgets everything, or what is newest.
    losses: bool,
    /// A person edits the keys by hand.
    edits: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Transition {
    /// Time passes, with heartbeats.
    Pass {
        ms: u64,
    },
    /// Time passes until all must be right.
    Rest,
    /// Users came or left, or not, and it is reported at once.
    Report {
        who: Who,
        users: u64,
        fate: Fate,
    },
    /// A report that was held arrives; it may arrive again if it is kept.
    Arrive {
        which: usize,
        keep: bool,
    },
    Listen {
        who: Who,
        ear: Ear,
    },
    Birth {
        users: u64,
        fate: Fate,
    },
    Farewell {
        who: Who,
        fate: Fate,
    },
    Die {
        who: Who,
    },
    /// An instance is cut off from the store, and can reach it again.
    Cut {
        who: Who,
    },
    Mend {
        who: Who,
    },
    /// No instance can report for this long; all do within a heartbeat afterwards.
    Outage {
        ms: u64,
    },
    /// The server's clock is set.
    Jump {
        ms: i64,
    },
    Flush,
    /// The server's data is remembered, for a later `RollBack`.
    Save,
    RollBack,
    Tamper(Tampering),
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// It arrives twice.
    Repeated,
    ReplyLost,
    Lost,
    /// It is on its way for long; its sender waits for the reply, or has given it up.
    Held {
        waits: bool,
    },
}

/// How an instance hears announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ear {
    /// At once: those of its own reports before the reply, or after it.
    Prompt,
    Behind,
    /// Not before it listens better.
    Late,
    /// Not at all.
    Deaf,
}

impl Ear {
    pub(super) fn is_deaf(self) -> bool {
        self == Self::Deaf
    }

    /// Whether nothing stays unheard.
    pub(super) fn hears_all(self) -> bool {
        matches!(self, Self::Prompt | Self::Behind)
    }
}

/// The generator of histories, for proptest.
pub(super) struct Histories;

impl ReferenceStateMachine for Histories {
    type State = Truth;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Truth> {
        let harm = any::<(bool, bool, bool)>();
        let harm = harm.prop_map(|(deaths, losses, edits)| Harm { deaths, losses, edits });
        let first = proptest::collection::vec((users(), 0_u64..500), 1..5);
        let seed = (harm, first).prop_map(|(harm, first)| Seed { harm, first });
        seed.prop_map(|seed| Truth::start(seed, &mut |_, _| Ok(())).expect("nobody objects"))
            .boxed()
    }

    fn transitions(truth: &Truth) -> BoxedStrategy<Transition> {
        let Harm { deaths, losses, edits } = truth.seed.harm;
        let mut choices = harmless(truth);
        if deaths {
            choices.extend(deadly(truth));
        }
        if losses {
            choices.push((1, Just(Transition::Flush).boxed()));
            choices.push((1, Just(Transition::Save).boxed()));
            let roll_back = Just(Transition::RollBack).boxed();
            choices.extend(truth.is_saved().then_some((2, roll_back)));
        }
        if edits {
            let living = truth.living().collect();
            choices.push((3, tampering(living).prop_map(Transition::Tamper).boxed()));
        }
        proptest::strategy::Union::new_weighted(choices).boxed()
    }

    fn apply(mut truth: Truth, transition: &Transition) -> Truth {
        truth.happen(transition, &mut |_, _| Ok(())).expect("nobody objects");
        truth
    }

    fn preconditions(truth: &Truth, transition: &Transition) -> bool {
        truth.allows(transition)
    }
}

type Choices = Vec<(u32, BoxedStrategy<Transition>)>;

/// What takes nothing from any instance.
fn harmless(truth: &Truth) -> Choices {
    let reach = |&who: &Who| !truth.lives[who].is_cut;
    let reaching: Vec<Who> = truth.living().filter(reach).collect();
    let living = proptest::sample::select(truth.living().collect::<Vec<_>>());
    let listen = (living, ear()).prop_map(|(who, ear)| Transition::Listen { who, ear });
    let jump = prop_oneof![-3_600_000_i64..0, 1_i64..1000, 1000_i64..3_600_000];
    let outage = prop_oneof![50_u64..3000, 3000_u64..400_000];
    let mut choices = vec![
        (6, (1_u64..900).prop_map(|ms| Transition::Pass { ms }).boxed()),
        (2, listen.boxed()),
        (1, jump.prop_map(|ms| Transition::Jump { ms }).boxed()),
        (2, outage.prop_map(|ms| Transition::Outage { ms }).boxed()),
    ];
    if reaching.len() == truth.living().count() {
        choices.push((2, Just(Transition::Rest).boxed()));
    }
    if truth.held() > 0 {
        let arrive = (0..truth.held(), any::<bool>())
            .prop_map(|(which, keep)| Transition::Arrive { which, keep });
        choices.push((3, arrive.boxed()));
    }
    if !reaching.is_empty() {
        let report = (proptest::sample::select(reaching), users(), fate(truth))
            .prop_map(|(who, users, fate)| Transition::Report { who, users, fate });
        choices.push((8, report.boxed()));
    }
    choices
}

fn deadly(truth: &Truth) -> Choices {
    let living = || proptest::sample::select(truth.living().collect::<Vec<_>>());
    let reaching: Vec<Who> = truth.living().filter(|&who| !truth.lives[who].is_cut).collect();
    let birth = (users(), fate(truth)).prop_map(|(users, fate)| Transition::Birth { users, fate });
    let cut: Vec<Who> = truth.living().filter(|&who| truth.lives[who].is_cut).collect();
    let mut choices: Choices = Vec::new();
    if truth.living().count() < 6 {
        choices.push((2, birth.boxed()));
    }
    if truth.living().count() > 1 {
        choices.push((1, living().prop_map(|who| Transition::Die { who }).boxed()));
    }
    if truth.living().count() > 1 && !reaching.is_empty() {
        let farewell = (proptest::sample::select(reaching.clone()), fate(truth))
            .prop_map(|(who, fate)| Transition::Farewell { who, fate });
        choices.push((1, farewell.boxed()));
    }
    if !reaching.is_empty() {
        let cut = proptest::sample::select(reaching).prop_map(|who| Transition::Cut { who });
        choices.push((1, cut.boxed()));
    }
    if !cut.is_empty() {
        let mend = proptest::sample::select(cut).prop_map(|who| Transition::Mend { who });
        choices.push((2, mend.boxed()));
    }
    choices
}

fn users() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 4 => 1_u64..40]
}

fn fate(truth: &Truth) -> impl Strategy<Value = Fate> + use<> {
    let held = if truth.trust < Trust::Edited { 2 } else { 0 };
    prop_oneof![
        5 => Just(Fate::Answered),
        1 => Just(Fate::Repeated),
        1 => Just(Fate::ReplyLost),
        1 => Just(Fate::Lost),
        held => any::<bool>().prop_map(|waits| Fate::Held { waits }),
    ]
}

fn ear() -> impl Strategy<Value = Ear> {
    proptest::sample::select(vec![Ear::Prompt, Ear::Behind, Ear::Late, Ear::Deaf])
}
