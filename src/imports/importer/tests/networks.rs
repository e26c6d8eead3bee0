use super::*;

#[tokio::test(start_paused = true)]
async fn a_network_that_others_changed_meanwhile_is_read_again() {
    let memory = Memory { conflicts: Mutex::new(9), ..Memory::default() };
    let begun = tokio::time::Instant::now();
    let (counts, rejected) = import(&memory, 1, &[network_line(0, 1, &[1], "N")]).await;
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(counts, Counts { created: 1, ..Counts::default() });
    assert_eq!(*memory.writes.lock().expect("lock"), 10, "the tenth attempt is stored");
    // The longest waits are 20, 40, 80 ms and so on: together at most ten seconds.
    let waited = begun.elapsed().as_millis();
    assert!((100..10_300).contains(&waited), "{waited} ms");
}

/// A line's error is told if it needed a write; a line that changed nothing keeps its outcome.
#[tokio::test(start_paused = true)]
async fn of_a_network_that_others_keep_changing_the_lines_that_needed_a_write_are_rejected() {
    let memory = Memory::default();
    import(&memory, 3, &[network_line(0, 1, &[1], "N"), network_line(3, 1, &[9], "N")]).await;
    *memory.conflicts.lock().expect("lock") = u32::MAX;
    *memory.writes.lock().expect("lock") = 0;
    let dated = |line: String, minute: u8| {
        line.replacen('{', &format!(r#"{{"updatedAt":"2026-01-01T00:{minute:02}:00Z","#), 1)
    };
    let lines = [
        network_line(1, 1, &[], "N"),
        dated(network_line(1, 1, &[], "older"), 2),
        network_line(4, 1, &[7], ""),
        network_line(3, 1, &[2], "b"),
        network_line(1, 1, &[], "N"),
        network_line(3, 2, &[1], "of another network"),
    ];
    let (counts, rejected) = import(&memory, 4, &lines).await;
    assert_eq!(counts, Counts { unchanged: 1, stale: 1, failed: 4, ..Counts::default() });
    let why = "write: a concurrent writer changed it, import this record again";
    let told: Vec<_> = rejected
        .iter()
        .map(|error| (error.line, error.error.message.as_str(), error.code))
        .collect();
    assert_eq!(told, [3, 4, 5, 6].map(|line| (line, why, LineErrorCode::Unavailable)));
    assert_eq!(*memory.writes.lock().expect("lock"), 10, "it is attempted ten times");
}

/// The order of its bundles may move even if none of them changes, and then it must be stored.
#[tokio::test(start_paused = true)]
async fn a_network_whose_order_alone_moves_is_written() {
    let memory = Memory::default();
    import(&memory, 2, &[network_line(0, 1, &[1], "N")]).await;
    import(&memory, 5, &[network_line(1, 1, &[], "newer")]).await;
    *memory.conflicts.lock().expect("lock") = u32::MAX;
    let between = [network_line(0, 1, &[1], "N")];
    let (counts, _) = import(&memory, 4, &between).await;
    assert_eq!(counts, Counts { failed: 1, ..Counts::default() });
    *memory.conflicts.lock().expect("lock") = 0;
    let (counts, _) = import(&memory, 4, &between).await;
    assert_eq!(counts, Counts { unchanged: 1, ..Counts::default() });
    let (counts, _) = import(&memory, 3, &[network_line(3, 1, &[2], "older")]).await;
    assert_eq!(counts.stale, 1);
}

/// The newest write of a bundle may be that of the whole set.
#[tokio::test]
async fn a_bundle_is_shown_with_the_time_of_its_set_if_that_is_newer() {
    let memory = Memory::default();
    import(&memory, 2, &[network_line(0, 1, &[1, 2], "N")]).await;
    let renamed = network_line(0, 1, &[1, 2], "N").replacen("\"N\"", "\"M\"", 1);
    import(&memory, 5, &[renamed]).await;
    let account = account();
    let mut importer = Importer::new(&memory, &account, source(6), Mode::Diff);
    let lines = [
        network_line(3, 1, &[1], "new"),
        network_line(3, 1, &[2], "N"),
        network_line(4, 1, &[2], ""),
        network_line(3, 1, &[3], "added"),
    ];
    importer.import_group(&numbered(&lines), &[]).await.expect("import");
    let shown: Vec<String> = importer
        .take_changes()
        .iter()
        .map(|change| serde_json::to_string(change).expect("JSON"))
        .collect();
    let (set, now) = ("2026-01-01T00:05:00Z", "2026-01-01T00:06:00Z");
    let expected = [
        format!(
            r#"{{"kind":"bundle","id":"1 1","line":1,"outcome":"updated","fields":[{{"path":"name","old":"N","new":"new"}},{{"path":"updatedAt","old":"{set}","new":"{now}"}}]}}"#
        ),
        format!(
            r#"{{"kind":"bundle","id":"1 2","line":3,"outcome":"deleted","fields":[{{"path":"name","old":"N"}},{{"path":"updatedAt","old":"{set}"}}]}}"#
        ),
        format!(
            r#"{{"kind":"bundle","id":"1 3","line":4,"outcome":"created","fields":[{{"path":"name","new":"added"}},{{"path":"updatedAt","new":"{now}"}}]}}"#
        ),
    ];
    assert_eq!(shown, expected);
    assert_eq!(importer.counts().unchanged, 1);
    assert!(importer.take_changes().is_empty(), "they are told once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the grouping, the networks and bundles are those that applying the lines one by one gives,
    /// and the number of bundles is correct.
    #[test]
    fn networks_end_where_the_replay_of_their_lines_ends(
        steps in vec((0_u8..5, 1_u32..3, vec(1_u32..5, 0..4), select(vec!["N", "M"])), 0..40),
        group in 1_usize..12,
    ) {
        let lines: Vec<String> =
            steps.iter().map(|(kind, id, bundles, name)| network_line(*kind, *id, bundles, name)).collect();
        let mut replayed: HashMap<u32, (Option<&str>, BTreeMap<u32, &str>)> = HashMap::new();
        for (kind, id, bundles, name) in &steps {
            let (network, stored) = replayed.entry(*id).or_default();
            let one = bundles.first().copied().unwrap_or(1);
            match kind {
                0 => {
                    *network = Some(name);
                    *stored = bundles.iter().map(|id| (*id, *name)).collect();
                }
                1 => *network = Some(name),
                2 => (*network, *stored) = (None, BTreeMap::new()),
                3 => {
                    stored.insert(one, name);
                }
                _ => {
                    stored.remove(&one);
                }
            }
        }
        let memory = Memory::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let imported = import_as(&memory, source(1), &lines, group, &[]);
        let (counts, rejected) = runtime.block_on(imported);
        prop_assert!(rejected.is_empty(), "{:?}", rejected);
        prop_assert_eq!(counts.total(), lines.len() as u64);
        let networks = memory.networks.lock().expect("lock");
        for (id, (network, bundles)) in replayed {
            let state = networks.get(&NetworkId::new(id).expect("id")).cloned().unwrap_or_default();
            let stored: BTreeMap<u32, String> =
                state.visible_bundles().map(|bundle| (bundle.id.get(), bundle.name.clone())).collect();
            prop_assert_eq!(state.network.map(|network| network.name), network.map(String::from));
            prop_assert_eq!(state.product_count, i64::try_from(stored.len()).expect("few"));
            prop_assert_eq!(stored, bundles.into_iter().map(|(id, name)| (id, name.to_owned())).collect());
        }
    }

    /// Whatever comes first, the orders alone decide which networks and bundles remain.
    #[test]
    fn networks_end_alike_whatever_comes_first(
        steps in vec((0_u8..5, vec(1_u32..4, 0..3)), 1..7),
        seed in any::<u64>(),
    ) {
        let lines: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(number, (kind, bundles))| network_line(*kind, 1, bundles, &format!("n{number}")))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let mut arrivals: Vec<usize> = (0..lines.len()).collect();
        let mut ended = Vec::new();
        for round in 0..2 {
            let memory = Memory::default();
            for number in &arrivals {
                let minute = u8::try_from(*number).expect("few");
                let line = std::slice::from_ref(&lines[*number]);
                let imported = import_as(&memory, source(minute), line, 1, &[]);
                let (_, rejected) = runtime.block_on(imported);
                prop_assert!(rejected.is_empty(), "{:?}", rejected);
            }
            let networks = memory.networks.lock().expect("lock");
            let state = networks.values().next().cloned().unwrap_or_default();
            let bundles: Vec<String> =
                state.visible_bundles().map(|bundle| bundle.name.clone()).collect();
            prop_assert_eq!(state.product_count, i64::try_from(bundles.len()).expect("few"));
            ended.push((state.network.map(|network| network.name), bundles));
            if round == 0 {
                let mut random = fastrand::Rng::with_seed(seed);
                random.shuffle(&mut arrivals);
            }
        }
        prop_assert_eq!(&ended[0], &ended[1], "{:?} {:?}", steps, arrivals);
    }
}

/// A network with its bundles (0), a network alone (1), its removal (2), a bundle (3), a bundle's removal
/// (4).
fn network_line(kind: u8, id: u32, bundles: &[u32], name: &str) -> String {
    let fields = |id: u32| {
        format!(r#""id":{id},"name":"{name}","type":"DATA","price_usd":1,"local_currency":"GHS""#)
    };
    let one = bundles.first().copied().unwrap_or(1);
    let network = format!(
        r#""kind":"network","id":{id},"name":"{name}","country":"Ghana","country_code":"GH","currency":"GHS""#
    );
    match kind {
        0 => {
            let ids: std::collections::BTreeSet<u32> = bundles.iter().copied().collect();
            let all: Vec<String> = ids.iter().map(|id| format!("{{{}}}", fields(*id))).collect();
            format!(r#"{{{network},"fixed_bundles":[{}]}}"#, all.join(","))
        }
        1 => format!("{{{network}}}"),
        2 => format!(r#"{{"kind":"network","op":"delete","id":{id}}}"#),
        3 => format!(r#"{{"kind":"bundle","network_id":{id},{}}}"#, fields(one)),
        _ => format!(r#"{{"kind":"bundle","op":"delete","network_id":{id},"id":{one}}}"#),
    }
}
