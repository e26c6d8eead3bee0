//! A copy of a catalog stays equal to it by the journal alone: the world of `orders`, with the function `record-changes`
//! and two readers, of which one begins with an export and the other with the first change.

use std::{
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use serverless_catalog::store::{Store, TableNames};

use super::{
    database,
    faults::Fate,
    journal::{Reader, exported},
    orders::{World, account, run_seeds},
    random::Random,
    run,
    workers::{Point, Tally},
};

/// How many seeds `make test` runs; `SIMULATION_SEEDS` asks for more.
const JOURNAL_SEEDS: u64 = 150;

/// How often workers must die at each point, and all else must happen, if so many seeds run.
const OFTEN: u64 = 50;

#[test]
#[allow(clippy::print_stderr, reason = "the figures of the documentation")]
fn a_copy_made_of_the_journal_is_the_catalog_whatever_happens() {
    let sum = Mutex::new(Tally::default());
    let seeds = run_seeds(JOURNAL_SEEDS, "a_copy_made_of_the_journal", |seed| {
        let tally = simulate_journal(seed)?;
        *sum.lock().expect("lock") += tally;
        Ok(())
    });
    let sum = sum.into_inner().expect("lock");
    eprintln!("{} deaths in {seeds} seeds: {sum:?}", sum.all_deaths());
    if seeds < JOURNAL_SEEDS {
        return;
    }
    for point in [Point::BeforeChunk, Point::AfterChunk, Point::BeforeEvents, Point::AfterEvents] {
        assert!(sum.deaths(point) >= OFTEN, "{point:?}: {sum:?}");
    }
    let others = [sum.unseen, sum.twice, sum.bisected, sum.concurrent];
    assert!(others.iter().all(|count| *count >= OFTEN), "{sum:?}");
}

/// Runs one seed to its end, with the journal and two readers of it; returns what befell its workers.
fn simulate_journal(seed: u64) -> Result<Tally, String> {
    run(async {
        let world = World::new(seed);
        let mut random = Random::new(!seed);
        let recording = tokio::spawn(world.journal.clone().deliver_all(random.fork()));
        let quick =
            |_: &str, _: &[u8]| Fate { before: Duration::from_millis(3), ..Fate::default() };
        let client = database::client(&world.engine, quick);
        let store = Store::new(client, TableNames::with_prefix("test")).with_clock(world.clock);
        let mut from_the_first = Reader::begin(&store, &account(), false).await;
        let begin = Duration::from_millis(random.range(0..60_000));
        let mut reading = random.fork();
        let all = world.clone().all(&mut random);
        let reader = async {
            tokio::time::sleep(begin).await;
            let mut reader = Reader::begin(&store, &account(), true).await;
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(reading.range(0..5_000))).await;
                reader.read(&mut reading).await?;
                from_the_first.read(&mut reading).await?;
            }
            Ok::<_, String>((reader, from_the_first, reading))
        };
        let (ended, read) = tokio::join!(all, reader);
        ended?;
        let (reader, from_the_first, mut reading) = read?;
        world.journal.is_over.store(true, Ordering::Relaxed);
        recording.await.map_err(|error| error.to_string())?;
        let export = exported(&store, &account()).await;
        let mut export: Vec<&String> = export.values().collect();
        export.sort();
        let announced = world.journal.bus.told()?;
        for (name, mut reader) in [("exported", reader), ("from the first", from_the_first)] {
            while !reader.read(&mut reading).await? {}
            if reader.lines() != export {
                let (copy, export) = (reader.lines(), &export);
                return Err(format!("the copy {name} is {copy:#?}, the export {export:#?}"));
            }
            let is_announced =
                |(name, count): &(&String, &u64)| announced.get(*name).is_some_and(|n| n >= *count);
            if let Some((name, count)) = reader.told.iter().find(|told| !is_announced(told)) {
                return Err(format!("{name} happened {count} times, with too few events"));
            }
        }
        Ok(world.journal.counter.tally())
    })
}
