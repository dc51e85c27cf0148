//! The list during emissions, against a model.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::engine::session::tests::polled;

/// A listener that writes down what it is told.
#[derive(Clone, Debug)]
struct Pupil {
    session: Arc<Session>,
    number: usize,
    is_open: Rc<Cell<bool>>,
    told: Rc<RefCell<Vec<(usize, u32)>>>,
}

impl Listener for Pupil {
    type Frame = u32;

    fn session(&self) -> &Arc<Session> {
        &self.session
    }

    fn tell(&self, frame: &u32) -> Told {
        if !self.is_open.get() {
            return Told::Gone;
        }
        self.told.borrow_mut().push((self.number, *frame));
        Told::Taken
    }

    fn is_open(&self) -> bool {
        self.is_open.get()
    }
}

/// What happens between two parts of an emission.
#[derive(Clone, Debug)]
enum Step {
    Enter(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..300usize).prop_map(Step::Enter),
        (0..2000usize).prop_map(Step::Leave),
        (0..2000usize).prop_map(Step::Leave),
    ];
    vec(step, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: an emission tells everybody on the list who stays once, and nobody who enters meanwhile; these are told the next one.
    /// Method: emissions in parts to listeners that come and go between the parts.
    #[test]
    fn everybody_is_told_once(first in 0..600usize, between in vec(steps(), 1..8)) {
        let (session, told, flusher) = (polled(), Rc::default(), Flusher::default());
        let mut pupils: Vec<Pupil> = Vec::new();
        let mut fan_out = FanOut::new(Prune::above(PRUNED_ABOVE));
        let come = |pupils: &mut Vec<Pupil>| {
            let is_open = Rc::new(Cell::new(true));
            let (number, session, told) = (pupils.len(), Arc::clone(&session), Rc::clone(&told));
            pupils.push(Pupil { session, number, is_open, told });
            pupils[number].clone()
        };
        for _ in 0..first {
            fan_out.enlist(come(&mut pupils));
        }
        let mut steps = between.into_iter();
        for emission in 0..3 {
            fan_out.enlist_entering();
            let open = |pupils: &[Pupil]| -> BTreeSet<usize> {
                pupils.iter().filter(|it| it.is_open.get()).map(|it| it.number).collect()
            };
            let before = open(&pupils);
            prop_assert!(fan_out.len() >= before.len());
            let mut left = fan_out.len();
            while left > 0 {
                left = fan_out.tell_last_of(left, &emission, &flusher);
                for step in steps.next().unwrap_or_default() {
                    match step {
                        Step::Enter(many) => (0..many).for_each(|_| fan_out.enter(come(&mut pupils))),
                        Step::Leave(number) => {
                            pupils.get(number).into_iter().for_each(|it| it.is_open.set(false));
                        }
                    }
                }
            }
            let told: Vec<usize> = told.take().into_iter().map(|(number, _)| number).collect();
            let once: BTreeSet<usize> = told.iter().copied().collect();
            prop_assert_eq!(once.len(), told.len(), "nobody is told twice");
            prop_assert!(once.is_subset(&before), "who enters is not told");
            let stayed = &before & &open(&pupils);
            prop_assert!(stayed.is_subset(&once), "everybody who stays is told");
        }
    }
}
