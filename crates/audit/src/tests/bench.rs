//! What it costs, measured by hand:
//! `cargo test --release -p audit bench -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;

/// CPU time in nanoseconds by thread: the sessions' part, and the journal's threads'.
fn cpu_nanos() -> BTreeMap<String, u64> {
    let mut nanos = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned();
        let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let spent = schedstat.split(' ').next().and_then(|text| text.parse::<u64>().ok());
        *nanos.entry(name).or_default() += spent.unwrap_or_default();
    }
    nanos
}

/// On a real disk.
fn disk() -> Directory {
    let path = std::env::temp_dir().join(format!("gatepost-audit-bench-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    Directory(path)
}

#[test]
#[ignore = "it measures, and asserts nothing"]
fn bench() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(relaxed());
    for waiters in [1, 8, 32, 128] {
        runtime.block_on(strict(waiters));
    }
    proof();
}

async fn relaxed() {
    const STATEMENTS: u64 = 300_000;
    const SQL: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 57421;";
    let directory = disk();
    let (journal, _) = Journal::open(Options::new(&directory.0, "gate-1"), None).unwrap();
    let context = context("8f14e45fceea167a");
    let mut batch = Batch::new();
    let (cpu, wall) = (cpu_nanos(), Instant::now());
    for id in 0..STATEMENTS {
        batch.clear();
        push_attempt(&mut batch, &context, id, SQL);
        note(&journal, &batch).await;
        batch.clear();
        push_outcome(&mut batch, &context, id);
        note(&journal, &batch).await;
    }
    let mut appended = cpu_nanos();
    appended.iter_mut().for_each(|(name, nanos)| {
        *nanos = (*nanos - cpu.get(name).unwrap_or(&0)) / STATEMENTS;
    });
    let wall = wall.elapsed();
    journal.close().await.unwrap();
    let proof = crate::verify::Journal::in_directory(&directory.0).unwrap();
    let report = verify(&proof, None, None, &mut |_| {}).unwrap();
    println!(
        "relaxed: {} ns CPU per statement of two records {appended:?}, {:.0} statements/s, \
         {} bytes per statement",
        appended.values().sum::<u64>(),
        STATEMENTS as f64 / wall.as_secs_f64(),
        report.bytes / STATEMENTS,
    );
}

/// As the gate does it.
async fn note(journal: &Journal, batch: &Batch) {
    if !journal.note(batch) {
        let _ticket = journal.append(batch, Durability::Relaxed).await.unwrap();
    }
}

async fn strict(waiters: u64) {
    let directory = disk();
    let options = Options { segment_bytes: 16 << 20, ..Options::new(&directory.0, "gate-1") };
    let (journal, _) = Journal::open(options, None).unwrap();
    let each = 40_000 / waiters.max(16);
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for waiter in 0..waiters {
        let journal = journal.clone();
        tasks.spawn(async move {
            for id in 0..each {
                record(&journal, &attempt(waiter * each + id, "SELECT 1")).await.unwrap();
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let wall = start.elapsed();
    let flush = flush_micros(&directory);
    println!(
        "strict, {waiters:>3} waiters: {:>7.0} records/s, {:>5.0} µs each to wait; a flush alone {flush:.0} µs",
        (waiters * each) as f64 / wall.as_secs_f64(),
        wall.as_micros() as f64 / each as f64,
    );
    journal.close().await.unwrap();
}

/// The median of fdatasync alone, into blocks that are there.
fn flush_micros(directory: &Directory) -> f64 {
    use std::os::unix::fs::FileExt;
    let path = directory.0.join("flush");
    fs::write(&path, vec![0; 4 << 20]).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    let mut times: Vec<_> = (0..300u64)
        .map(|round| {
            let start = Instant::now();
            file.write_all_at(&[1; 1500], round * 1500).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2].as_micros() as f64
}

fn proof() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (what, per_group) in [("groups of 100", 100), ("groups of one", 1)] {
        let directory = Directory::new();
        let options = Options { segment_bytes: 32 << 20, ..Options::new(&directory.0, "gate-1") };
        let (journal, _) = Journal::open(options, None).unwrap();
        runtime.block_on(async {
            for group in 0..100_000 / per_group / if per_group == 1 { 4 } else { 1 } {
                let mut batch = Batch::new();
                for id in 0..per_group {
                    push_attempt(&mut batch, &context("s-1"), group * per_group + id, "SELECT 1");
                }
                record(&journal, &batch).await.unwrap();
            }
            journal.close().await.unwrap();
        });
        let proof = crate::verify::Journal::in_directory(&directory.0).unwrap();
        let start = Instant::now();
        let report = verify(&proof, None, None, &mut |_| {}).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "verify, {what}: {:.0} MB/s ({} MB in {} segments, sealed ones included)",
            report.bytes as f64 / seconds / 1e6,
            report.bytes / 1_000_000,
            report.segments,
        );
        for path in directory.segments().iter().filter(|path| path.extension().unwrap() == "zst") {
            let packed = fs::metadata(path).unwrap().len();
            println!("  sealed: {} KB", packed / 1000);
        }
    }
}
