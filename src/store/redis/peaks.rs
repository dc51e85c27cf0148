//! Sends what an instance knows of the peaks to `peaks.lua`, and parses the answer, as strictly as every reply.

use std::collections::HashMap;

use deadpool_redis::redis::Value;

use super::{
    RedisStore,
    call::Call,
    reply::{array, bytes, flag, unexpected, whole},
};
use crate::{
    core::{
        count::{Revision, Sequence},
        peaks::{Attendance, Attendee, PEAK_TIME_MAX, Peak, Peaks, PeaksAnswer},
    },
    store::StoreError,
};

/// Stands for no peak.
const NONE: Peak = Peak { users: 0, at: 0 };

impl RedisStore {
    /// Tells what is known, or only reads.
    pub(super) async fn exchange_peaks(
        &self,
        known: Option<&Peaks>,
    ) -> Result<PeaksAnswer, StoreError> {
        let keys = &self.keys;
        let mut call = self.peaks.prepare_invoke();
        for key in [&keys.peaks, &keys.connections, &keys.sequence, &keys.meta, &keys.dead] {
            call.key(key);
        }
        call.arg(if known.is_some() { "tell" } else { "read" });
        if let Some(known) = known {
            for peak in [known.ever().unwrap_or(NONE)].into_iter().chain(known.days()) {
                call.arg(peak.users).arg(peak.at);
            }
        }
        let answered = self.caller.run(&Call::Script(call)).await?;
        answer(&answered.value)
    }
}

/// Parses the reply of `peaks.lua`.
fn answer(value: &Value) -> Result<PeaksAnswer, StoreError> {
    let [now, ever, days, revision, attendance, has_dead] = array(value)? else {
        return Err(unexpected("answer about peaks of another length"));
    };
    let now = whole(now)?;
    if now > PEAK_TIME_MAX {
        return Err(unexpected("time that is not real"));
    }
    let mut peaks = Peaks::default();
    match list(ever)?[..] {
        [] => {}
        [ever] => peaks.add_ever(ever),
        _ => return Err(unexpected("peak ever with more than two numbers")),
    }
    // After the peak ever, which stands against days that are as high.
    list(days)?.into_iter().for_each(|peak| peaks.add(peak));
    let (revision, has_dead) = (Revision(whole(revision)?), flag(has_dead)?);
    let attendance = Attendance { revision, has_dead, instances: instances(attendance)? };
    Ok(PeaksAnswer { now, peaks, attendance })
}

fn list(value: &Value) -> Result<Vec<Peak>, StoreError> {
    let (pairs, rest) = array(value)?.as_chunks();
    if !rest.is_empty() {
        return Err(unexpected("list of peaks with an odd length"));
    }
    let peak = |[users, at]: &[Value; 2]| {
        let peak = Peak { users: whole(users)?, at: whole(at)? };
        if peak.is_possible() { Ok(peak) } else { Err(unexpected("peak that is not possible")) }
    };
    pairs.iter().map(peak).collect()
}

fn instances(value: &Value) -> Result<HashMap<String, Attendee>, StoreError> {
    let (entries, rest) = array(value)?.as_chunks();
    if !rest.is_empty() {
        return Err(unexpected("list of instances of another length"));
    }
    let attendee = |[incarnation, sequence, is_counted]: &[Value; 3]| {
        let incarnation = String::from_utf8_lossy(bytes(incarnation)?).into_owned();
        let sequence = Sequence(whole(sequence)?);
        Ok((incarnation, Attendee { sequence, is_counted: flag(is_counted)? }))
    };
    entries.iter().map(attendee).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn texts(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| text(word)).collect())
    }

    fn good() -> Vec<Value> {
        let mut instances = vec![text("a"), text("7"), Value::Int(1)];
        instances.extend([text("b"), text("3"), Value::Int(0)]);
        vec![
            text("1764172800000"),
            texts(&["9", "1764000000000"]),
            texts(&["5", "1764172799000"]),
            text("12"),
            Value::Array(instances),
            Value::Int(1),
        ]
    }

    /// Goal: an answer is read as it is meant. Method: one with everything, and one of a store that knows nothing.
    #[test]
    fn an_answer_is_read() {
        let read = answer(&Value::Array(good())).unwrap();
        assert_eq!(read.now, 1_764_172_800_000);
        assert_eq!(read.peaks.ever(), Some(Peak { users: 9, at: 1_764_000_000_000 }));
        let day = Peak { users: 5, at: 1_764_172_799_000 };
        assert_eq!(read.peaks.days().collect::<Vec<_>>(), [day]);
        assert_eq!((read.attendance.revision, read.attendance.has_dead), (Revision(12), true));
        let attendee = |sequence, is_counted| Attendee { sequence: Sequence(sequence), is_counted };
        assert_eq!(read.attendance.instances["a"], attendee(7, true));
        assert_eq!(read.attendance.instances["b"], attendee(3, false));
        let none = [text("1"), texts(&[]), texts(&[]), text("0"), texts(&[]), Value::Int(0)];
        let read = answer(&Value::Array(none.to_vec())).unwrap();
        assert_eq!((read.peaks, read.attendance), (Peaks::default(), Attendance::default()));
    }

    /// Goal: no other answer is believed, and none causes a panic. Method: each part replaced by something that does not
    /// belong there.
    #[test]
    fn other_answers_are_refused() {
        let odd = [
            Value::Nil,
            text("-1"),
            text("x"),
            texts(&["1"]),
            texts(&["0", "5"]),
            texts(&["2000000000000", "5"]),
            texts(&["5", "253402300800000"]),
            texts(&["a", "b", "1"]),
            texts(&["a", "1", "2"]),
            Value::Array(vec![Value::Nil; 6]),
        ];
        assert!(answer(&Value::Nil).is_err() && answer(&Value::Array(Vec::new())).is_err());
        for place in 0..good().len() {
            for wrong in &odd {
                let mut fields = good();
                fields[place] = wrong.clone();
                assert!(answer(&Value::Array(fields)).is_err(), "{wrong:?} at {place}");
            }
        }
        let mut far = good();
        far[0] = text("253402300800000");
        assert!(answer(&Value::Array(far)).is_err());
    }

    proptest! {
        /// Goal: numbers of any size are read or refused. Method: random ones in every place.
        #[test]
        fn any_number_is_survived(numbers in proptest::collection::vec(any::<i64>(), 8)) {
            let number = |index: usize| text(&numbers[index].to_string());
            let pair = |index| Value::Array(vec![number(index), number(index + 1)]);
            let instances = Value::Array(vec![text("a"), number(6), Value::Int(numbers[7])]);
            let has_dead = Value::Int(numbers[7] & 1);
            let fields = vec![number(0), pair(1), pair(3), number(5), instances, has_dead];
            if let Ok(read) = answer(&Value::Array(fields)) {
                prop_assert!(read.now <= PEAK_TIME_MAX);
            }
        }
    }
}
