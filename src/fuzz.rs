//! The fuzzer: every seed of a corpus, then mutations of the seeds until the time is over.
//!
//! Among the other tests, every run tries the same inputs, as many of them as the time allows. With `FUZZ_SECONDS`, the
//! time for each target, every run tries others; the same time and `FUZZ_SEED` repeat one. An input that fails is made
//! small and kept in `target/fuzz/`.

use std::{
    fs,
    ops::Range,
    panic::{self, RefUnwindSafe, UnwindSafe},
    path::Path,
    process,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

/// How long a target runs unless `FUZZ_SECONDS` says.
const SECONDS: u64 = 3;

/// Where the inputs come from unless `FUZZ_SECONDS` or `FUZZ_SEED` says.
const SEED: u64 = 20_261_128;

/// The longest that an input may take: thousands of times what most take.
const SLOW: Duration = Duration::from_secs(30);

/// An input that takes so long never ends.
const HANGS: Duration = Duration::from_mins(1);

/// The most memory that a target may need, in KiB.
const MEMORY: u64 = 512 * 1024;

/// The largest input.
const MAX_BYTES: usize = 256 * 1024;

/// What parsers of text stumble over.
const WORDS: [&str; 40] = [
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\t",
    "\u{feff}",
    "\u{1f980}",
    "e\u{301}",
    "\u{202e}",
    "\"",
    "\\",
    "\\\"",
    "\\u0000",
    "\\ud800",
    "'",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    "[]",
    "{}",
    "null",
    "true",
    "\"\"",
    "0",
    "-0",
    "-1",
    "1.0",
    "1e400",
    "1e-400",
    "0.00000000000000000000000000000000001",
    "9007199254740993",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "NaN",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-01T00:00:00Z",
];

/// One change to an input.
#[derive(Clone, Debug)]
enum Mutation {
    /// Sets a byte.
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    /// Repeats a part: nesting, duplicates, length.
    Repeat(Index, u8, u8),
    /// Inserts a word.
    Word(Index, Index),
    /// Replaces what is between two marks of the syntax by a word.
    Token(Index, Index),
    /// Copies what is between two marks to another place.
    Move(Index, Index),
    /// Goes on with the rest of another seed.
    Splice(Index, Index, Index),
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (place(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), any::<u8>()).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (place(), any::<u8>(), any::<u8>())
            .prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        (place(), place()).prop_map(|(at, word)| Mutation::Word(at, word)),
        (place(), place()).prop_map(|(at, word)| Mutation::Token(at, word)),
        (place(), place()).prop_map(|(from, to)| Mutation::Move(from, to)),
        (place(), place(), place()).prop_map(|(at, seed, from)| Mutation::Splice(at, seed, from)),
        place().prop_map(Mutation::End),
    ]
}

/// The token at a place: up to the next marks of JSON, CSV, queries and paths.
fn token(bytes: &[u8], at: usize) -> Range<usize> {
    let is_mark = |byte: &u8| b"{}[]\",:;&=?/%\n\t ".contains(byte);
    let start = bytes[..at].iter().rposition(is_mark).map_or(0, |mark| mark + 1);
    let end = bytes[at..].iter().position(is_mark).map_or(bytes.len(), |mark| at + mark);
    start..end
}

impl Mutation {
    fn apply(self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
        let within = |index: Index, bytes: &[u8]| index.index(bytes.len() + 1);
        let word = |index: Index| words[index.index(words.len())].bytes();
        match self {
            Self::Set(at, byte) => {
                if let Some(last) = bytes.len().checked_sub(1) {
                    bytes[at.index(last + 1)] = byte;
                }
            }
            Self::Insert(at, inserted) => {
                let at = within(at, bytes);
                bytes.splice(at..at, inserted);
            }
            Self::Remove(at, length) => {
                let at = within(at, bytes);
                bytes.drain(at..bytes.len().min(at + usize::from(length)));
            }
            Self::Repeat(at, length, times) => {
                let at = within(at, bytes);
                let end = bytes.len().min(at + usize::from(length));
                let repeated = bytes[at..end].repeat(usize::from(times));
                bytes.splice(at..at, repeated);
            }
            Self::Word(at, index) => {
                let at = within(at, bytes);
                bytes.splice(at..at, word(index));
            }
            Self::Token(at, index) => {
                bytes.splice(token(bytes, within(at, bytes)), word(index));
            }
            Self::Move(from, to) => {
                let moved = bytes[token(bytes, within(from, bytes))].to_vec();
                bytes.splice(token(bytes, within(to, bytes)), moved);
            }
            Self::Splice(at, seed, from) => {
                let other = &seeds[seed.index(seeds.len())];
                bytes.truncate(within(at, bytes));
                bytes.extend_from_slice(&other[within(from, other)..]);
            }
            Self::End(at) => bytes.truncate(within(at, bytes)),
        }
        bytes.truncate(MAX_BYTES);
    }
}

/// Inputs: a seed with some mutations, few of them mostly.
fn inputs(seeds: Arc<[Vec<u8>]>, words: Arc<[&'static str]>) -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop_oneof![
        3 => prop::collection::vec(mutation(), 1..4),
        1 => prop::collection::vec(mutation(), 4..20),
    ];
    (any::<Index>(), mutations).prop_map(move |(seed, mutations)| {
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for mutation in mutations {
            mutation.apply(&mut bytes, &seeds, &words);
        }
        bytes
    })
}

/// The seeds in `tests/corpus/`, in a folder of this name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let files = fs::read_dir(&folder).into_iter().flatten();
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// Keeps an input that failed, and says where.
fn keep(name: &str, input: &[u8]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    let path = folder.join(format!("{name}-{:08x}", crc32fast::hash(input)));
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    let place = kept.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    format!("{place}: \"{}\"", input[..input.len().min(2_000)].escape_ascii())
}

/// The most memory that this process has had, in KiB; nothing where the system does not say.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let size = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    size.unwrap_or_default()
}

/// What is being tried, and since when.
type Trial = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Ends the process if an input never ends.
fn watch(name: &'static str, trial: Trial) {
    thread::spawn(move || {
        while Arc::strong_count(&trial) > 1 {
            thread::sleep(Duration::from_millis(500));
            let trial = trial.lock().expect("lock");
            if let Some((began, input)) = &*trial
                && began.elapsed() > HANGS
            {
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("does not end: {}\n", keep(name, input)).as_bytes(),
                );
                process::exit(1);
            }
        }
    });
}

/// Runs a target: `check` panics if an input does what it must not. The corpus has the target's name; `more` are
/// seeds from elsewhere, `words` what the format has besides punctuation.
pub(crate) fn fuzz(
    name: &'static str,
    more: Vec<Vec<u8>>,
    words: &[&'static str],
    check: impl Fn(&[u8]) + UnwindSafe + RefUnwindSafe,
) {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (time, seed) = match variable("FUZZ_SECONDS") {
        Some(seconds) => (seconds, fastrand::u64(..)),
        None => (SECONDS, SEED),
    };
    let time = Duration::from_secs(time);
    let seed = variable("FUZZ_SEED").unwrap_or(seed);
    let trial = Trial::default();
    watch(name, trial.clone());
    let tried = |input: &[u8]| {
        let began = Instant::now();
        *trial.lock().expect("lock") = Some((began, input.to_vec()));
        check(input);
        *trial.lock().expect("lock") = None;
        assert!(began.elapsed() < SLOW, "it took {:?}", began.elapsed());
    };
    let before = memory();
    let mut seeds = corpus(name);
    seeds.extend(more);
    assert!(!seeds.is_empty(), "there are no seeds of {name}");
    for input in &seeds {
        tried(input);
    }
    let words: Arc<[&str]> = words.iter().copied().chain(WORDS).collect();
    let inputs = inputs(seeds.into(), words);
    let config = Config { failure_persistence: None, max_shrink_time: 30_000, ..Config::default() };
    let bytes = [seed.to_le_bytes(); 4].concat();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    // Thousands of inputs may fail while one is made small: only the last word matters.
    let (hook, fuzzer) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != fuzzer {
            hook(panic);
        }
    }));
    let (started, mut count) = (Instant::now(), 0_u64);
    while started.elapsed() < time {
        let tree = inputs.new_tree(&mut runner).expect("an input");
        let outcome = runner.run_one(tree, |input| {
            tried(&input);
            Ok(())
        });
        if let Err(TestError::Fail(why, input)) = outcome {
            let _ = panic::take_hook();
            panic!("FUZZ_SEED={seed}, input {count}: {why}\n{}", keep(name, &input));
        }
        count += 1;
    }
    let _ = panic::take_hook();
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "it took {grown} KiB of memory");
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{name}: {count} inputs, {grown} KiB, FUZZ_SEED={seed}\n").as_bytes(),
    );
}
