//! One digest of intents, whatever runs the strategy: called tick by tick, in batches, swapped in the middle for a
//! fresh instance that loads its state, from CSV and from Parquet, in four languages.
//!
//! What else is held to the same digests: the live host against the paper venue, its recordings made again, and
//! native Rust (`lab`), and three swaps of a live host (`hot_swap`).

use super::components::recorded;
use super::setup::{component, facts, ringfence, text, workspace};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use ringfence::lab::{DataFile, Dataset, Lab, LabConfig, Metered};
use ringfence::market::{FeedConfig, Instruments, Money, OffStep, Sample};
use ringfence::orders::{Mode, RiskLimits};
use ringfence::plugin::{Plugin, Profile, Sandbox, SandboxConfig, SandboxLimits, Setting, SettingValue};
use std::fmt::Write as _;
use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(SandboxConfig::default()).unwrap());

/// Components that have to want the same, and their settings.
type Example = (&'static [&'static str], &'static [(&'static str, i64)]);

/// The examples, with settings under which each orders something, and what has to want the same.
const EXAMPLES: [Example; 3] = [
    (
        &["ema-cross", "ema-cross-c", "ema-cross-js", "ema-cross-python"],
        &[("fast", 10), ("slow", 20), ("quantity", 1)],
    ),
    (&["mean-reversion"], &[("window", 20), ("quantity", 1)]),
    (&["breakout"], &[("bars", 3)]),
];

fn load(name: &str) -> Plugin {
    let managed = name.ends_with("-js") || name.ends_with("-python");
    let limits = SandboxLimits::of(if managed { Profile::Managed } else { Profile::Native });
    SANDBOX.load_file(&component(name), None, &limits).unwrap()
}

/// Rows of a walk that swings, as prices and quantities.
fn walk(rows: u64) -> Vec<(u64, i64, i64)> {
    let (mut noise, mut price) = (3_u64, 100_000_i64);
    (0..rows)
        .map(|row| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            price = (price + (noise >> 40) as i64 % 101 - 50).max(1_000);
            (1_700_000_000_000 + row * 1_000, price, 1 + (noise >> 50) as i64 % 9)
        })
        .collect()
}

fn write_csv(path: &Path, rows: &[(u64, i64, i64)]) {
    let mut text = String::from("timestamp,price,quantity\n");
    for (at, price, quantity) in rows {
        let _ = writeln!(text, "{at},{}.{:02},{quantity}", price / 100, price % 100);
    }
    std::fs::write(path, text).unwrap();
}

fn write_parquet(path: &Path, rows: &[(u64, i64, i64)]) {
    let schema = "message rows { required int64 timestamp (timestamp(millis,true)); required double price; \
                  required int64 quantity; }";
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for part in rows.chunks(3_333) {
        let mut group = writer.next_row_group().unwrap();
        for column in 0..3 {
            let mut open = group.next_column().unwrap().unwrap();
            match open.untyped() {
                ColumnWriter::DoubleColumnWriter(to) => {
                    let prices: Vec<f64> = part.iter().map(|(_, price, _)| *price as f64 / 100.0).collect();
                    to.write_batch(&prices, None, None).unwrap();
                }
                ColumnWriter::Int64ColumnWriter(to) => {
                    let of = |(at, _, quantity): &(u64, i64, i64)| {
                        if column == 0 { *at as i64 } else { *quantity }
                    };
                    to.write_batch(&part.iter().map(of).collect::<Vec<_>>(), None, None).unwrap();
                }
                _ => panic!("the schema has no other columns"),
            }
            open.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn read(path: &Path) -> (Arc<Instruments>, Vec<Sample>) {
    let format = FeedConfig { off_step: OffStep::RoundHalfEven, ..FeedConfig::default() };
    let data = Dataset::prepare(&[DataFile { path: path.to_owned(), symbol: None }], &[], &format).unwrap();
    (Arc::clone(data.instruments()), data.open().unwrap().map(Result::unwrap).collect())
}

#[derive(Clone, Copy)]
enum Way {
    OneByOne,
    Batches,
    Swapped,
}

/// How often the strategy ordered, and the digest of it.
fn run(
    plugin: &Plugin,
    settings: &[(&str, i64)],
    (table, samples): &(Arc<Instruments>, Vec<Sample>),
    way: Way,
) -> (u64, String) {
    let setting =
        |(key, value): &(&str, i64)| Setting { key: (*key).into(), value: SettingValue::Integer(*value) };
    let config = LabConfig {
        settings: settings.iter().map(setting).collect(),
        risk: RiskLimits {
            orders_per_second_max: NonZeroU32::new(100_000).unwrap(),
            ..RiskLimits::default()
        },
        batch: matches!(way, Way::Batches),
        ..LabConfig::new(Arc::clone(table), Money::new(1_000_000_000.into()))
    };
    let (strategy, meter) = Metered::new(plugin.instantiate().unwrap());
    let mut lab = Lab::new(config, Box::new(strategy), meter, plugin.digest());
    let part = samples.len() / 4 + 1;
    for (number, part) in samples.chunks(part).enumerate() {
        if matches!(way, Way::Swapped) && number > 0 {
            lab.replace(Metered::new(plugin.instantiate().unwrap()), false).unwrap();
        }
        part.chunks(777).for_each(|window| lab.samples(window).unwrap());
    }
    assert!(!lab.is_void());
    let summary = lab.finish();
    assert_eq!((summary.stopped_at, summary.mode), (None, Mode::Full));
    assert_eq!(summary.stats.swaps, if matches!(way, Way::Swapped) { 3 } else { 0 });
    (summary.stats.intents, summary.intents_sha256.to_string())
}

#[test]
fn every_example_wants_the_same_on_every_data_set_whatever_runs_it() {
    let dir = TempDir::new().unwrap();
    let rows = walk(10_000);
    let (table, packed) = (dir.path().join("walk.csv"), dir.path().join("walk.parquet"));
    write_csv(&table, &rows);
    write_parquet(&packed, &rows);
    let mut sets: Vec<PathBuf> = vec![table, packed, workspace().join("host/data/sp500-2000.csv")];
    sets.extend(
        ["btcusdt_20240809_trades.csv", "btcusdt_20240809_quotes.csv"].into_iter().filter_map(recorded),
    );

    for (names, settings) in EXAMPLES {
        let plugins: Vec<Plugin> = names.iter().map(|name| load(name)).collect();
        let mut of_walk = None;
        for set in &sets {
            let data = read(set);
            let (intents, digest) = run(&plugins[0], settings, &data, Way::OneByOne);
            let set = set.file_name().unwrap().to_str().unwrap();
            // Breakout reads bars of a minute of trades, and the recorded data covers five minutes.
            let silent = names[0] == "breakout" && set.starts_with("btcusdt");
            assert!(silent || intents > 3, "{} orders {intents} times on {set}", names[0]);
            for (plugin, name) in plugins.iter().zip(names) {
                for (way, what) in
                    [(Way::OneByOne, "one by one"), (Way::Batches, "in batches"), (Way::Swapped, "swapped")]
                {
                    assert_eq!(
                        run(plugin, settings, &data, way),
                        (intents, digest.clone()),
                        "{name} on {set}, {what}"
                    );
                }
            }
            if set.starts_with("walk.") {
                assert_eq!(
                    of_walk.get_or_insert_with(|| digest.clone()),
                    &digest,
                    "CSV and Parquet of the same rows"
                );
            }
        }
    }
}

#[test]
fn a_component_is_tested_on_parquet_as_on_csv_and_damage_is_said() {
    let dir = TempDir::new().unwrap();
    let rows = walk(5_000);
    let (table, packed) = (dir.path().join("walk.csv"), dir.path().join("walk.parquet"));
    write_csv(&table, &rows);
    write_parquet(&packed, &rows);
    let component = component("ema-cross").display().to_string();
    let test = |path: &Path| {
        let path = path.display().to_string();
        ringfence(&["test", &component, "--data", &path, "--fees", "1", "--format", "json"])
    };
    let told = |path: &Path| {
        let output = test(path);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut told = facts(&output);
        for key in ["seconds", "events_per_second"] {
            told.as_object_mut().unwrap().remove(key);
        }
        told
    };
    assert_eq!(told(&packed), told(&table));

    let mut bytes = std::fs::read(&packed).unwrap();
    bytes.truncate(bytes.len() - 100);
    std::fs::write(&packed, bytes).unwrap();
    let output = test(&packed);
    assert_eq!(output.status.code(), Some(2));
    let words = text(&output.stderr);
    assert!(words.contains("walk.parquet: no Parquet that can be read"), "{words}");
}
