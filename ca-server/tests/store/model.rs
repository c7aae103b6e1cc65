//! What a change sees, against a plain map: any history of writes, in one change or several of a group.

use std::collections::BTreeMap;

use ca_server::{
    ledger::Actor,
    store::{Db, Direction, KeyRange, Read, Table, Txn, WriteError},
};
use proptest::prelude::*;

use crate::medium::{CA, InMemory, Medium, OnDisk, event, whole};

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, u8),
    Delete(Vec<u8>),
    Scan(Vec<u8>, Option<Vec<u8>>, bool, usize),
}

/// A change: its steps, and whether it refuses in the end.
type Change = (Vec<Step>, bool);

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 0xff]), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        2 => (key(), prop::option::of(key()), any::<bool>(), 0..6usize)
            .prop_map(|(from, until, back, limit)| Step::Scan(from, until, back, limit)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((prop::collection::vec(step(), 0..12), any::<bool>()), 1..8)
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn expected(
    model: &Model,
    from: &Vec<u8>,
    until: Option<&Vec<u8>>,
    direction: Direction,
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let within = model
        .iter()
        .filter(|(key, _)| *key >= from && until.is_none_or(|until| *key < until))
        .map(|(key, value)| (key.clone(), value.clone()));
    let mut pairs: Vec<_> = within.collect();
    if direction == Direction::Backward {
        pairs.reverse();
    }
    pairs.truncate(limit);
    pairs
}

/// What `step` does to a map.
fn apply(model: &mut Model, step: &Step) {
    match step {
        Step::Put(key, value) => {
            model.insert(key.clone(), vec![*value]);
        }
        Step::Delete(key) => {
            model.remove(key);
        }
        Step::Scan(..) => {}
    }
}

/// Takes `step` in the store; what is read must be what `model` shows.
fn take(txn: &mut Txn<'_>, model: &Model, step: &Step) {
    match step {
        Step::Put(key, value) => txn.put(Table::Meta, key.clone(), [*value]),
        Step::Delete(key) => txn.delete(Table::Meta, key.clone()),
        Step::Scan(from, until, back, limit) => {
            let range = match until {
                Some(until) => KeyRange::between(from.clone(), until.clone()),
                None => KeyRange::since(from.clone()),
            };
            let direction = match back {
                true => Direction::Backward,
                false => Direction::Forward,
            };
            let seen = txn.scan(Table::Meta, &range, direction, *limit).unwrap();
            let shown = expected(model, from, until.as_ref(), direction, *limit);
            assert_eq!(seen, shown, "{step:?}");
            assert_eq!(
                txn.get(Table::Meta, from).unwrap(),
                model.get(from).cloned()
            );
        }
    }
}

fn run<M: Medium>(history: Vec<Change>) {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let mut model = Model::new();
    let mut kept = 0;
    // Submitted without waiting, so that they meet in groups; the writer takes them in this order.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let tasks = tokio::task::LocalSet::new();
    let mut answers = vec![];
    for (steps, refuse) in history {
        let before = model.clone();
        if !refuse {
            kept += 1;
            steps.iter().for_each(|step| apply(&mut model, step));
        }
        let db = db.clone();
        answers.push(tasks.spawn_local(async move {
            let change = move |txn: &mut Txn<'_>| {
                let mut seen = before.clone();
                for step in &steps {
                    take(txn, &seen, step);
                    apply(&mut seen, step);
                }
                txn.record(1, &Actor::Server, &event("step"));
                if refuse { Err("no") } else { Ok(()) }
            };
            db.write_async(change).await
        }));
    }
    tasks.block_on(&runtime, async {
        for answer in answers {
            match answer.await.unwrap() {
                Ok(()) | Err(WriteError::Refused(_)) => {}
                Err(WriteError::Store(e)) => panic!("{e:?}"),
            }
        }
    });
    let snapshot = db.snapshot().unwrap();
    let rows = snapshot.scan(
        Table::Meta,
        &KeyRange::all(),
        Direction::Forward,
        usize::MAX,
    );
    assert_eq!(rows.unwrap().into_iter().collect::<Model>(), model);
    assert_eq!(whole(&db).entries, kept);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn a_change_sees_what_a_map_would_show_in_memory(history in changes()) {
        run::<InMemory>(history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_change_sees_what_a_map_would_show_on_disk(history in changes()) {
        run::<OnDisk>(history);
    }
}
