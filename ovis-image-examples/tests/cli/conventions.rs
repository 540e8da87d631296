//! Tests of what users expect of any command: exit codes, short flags, names of other programs,
//! output files, standard streams, and help.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{DEVICE, cannot, fails, generate, names, read_png, refuses, small, stderr, succeeds};

const SIZE: [&str; 6] = ["-W", "64", "-H", "32", "--steps", "1"];

/// Generates a small image of a prompt among the arguments.
fn tiny(folder: &TempDir, arguments: &[&str]) -> Output {
    generate(folder, &[arguments, &SIZE, &["--device", DEVICE]].concat())
}

fn settings(folder: &TempDir, arguments: &[&str]) -> Value {
    let output = tiny(folder, &[arguments, &["--json"]].concat());
    let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    summary["settings"].clone()
}

/// Runs `generate` with a text on standard input.
fn generate_reading(folder: &TempDir, arguments: &[&str], text: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(folder)
        .args(arguments)
        .args(SIZE)
        .args(["--device", DEVICE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap()
}

fn program(name: &str) -> Command {
    Command::new(match name {
        "generate" => env!("CARGO_BIN_EXE_generate"),
        "convert" => env!("CARGO_BIN_EXE_convert"),
        "dataset" => env!("CARGO_BIN_EXE_dataset"),
        "evaluate" => env!("CARGO_BIN_EXE_evaluate"),
        #[cfg(feature = "flex")]
        "train" => env!("CARGO_BIN_EXE_train"),
        _ => env!("CARGO_BIN_EXE_inspect"),
    })
}

fn printed(name: &str, arguments: &[&str]) -> String {
    // Help is wrapped at this width.
    let output = program(name).env("COLUMNS", "80").args(arguments).output();
    succeeds(&output.unwrap())
}

#[test]
fn wrong_arguments_and_failed_work_have_their_exit_codes() {
    refuses(&["--no-such-flag"], &["--no-such-flag"]);
    refuses(&["--steps", "0"], &["--steps"]);
    refuses(
        &["--max-sequence-length", "257"],
        &["--max-sequence-length", "257"],
    );
    refuses(&["--prompt-file", "a.txt"], &["--prompt-file", "--prompt"]);
    refuses(
        &[
            "--seeds", "1,2", "--prompt", "a", "--prompt", "b", "--prompt", "c",
        ],
        &["2 seeds"],
    );
    refuses(&["--threads", "0"], &["--threads"]);
    cannot(&["--model", "no-such-model"], &["no-such-model"]);
    cannot(&["--init-image", "none.png"], &["none.png"]);
    for name in ["generate", "convert", "inspect", "dataset", "evaluate"] {
        let wrong = program(name).arg("--no-such-flag").output().unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{name}");
    }
    let nothing = program("dataset").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("synthesize"));
    let work = program("inspect").arg("no-such-model").output().unwrap();
    assert_eq!(work.status.code(), Some(1));
}

#[test]
fn errors_name_flags_as_they_were_typed() {
    for (flags, typed, other) in [
        (
            &["--cfg-scale", "NaN"][..],
            "invalid --cfg-scale:",
            "--guidance-scale",
        ),
        (
            &["--guidance-scale", "NaN"],
            "invalid --guidance-scale:",
            "--cfg-scale",
        ),
        (
            &["--cfg-scale", "much"],
            "'--cfg-scale <SCALE>'",
            "--guidance-scale",
        ),
        (
            &["--grid", "guidance-scale=NaN"],
            "invalid --grid guidance-scale:",
            "--guidance-scale",
        ),
        (&["-s", "x"], "'-s <SEED>'", "--seed"),
        (
            &["-s", "1", "--seeds", "2"],
            "'-s <SEED>'",
            "'--seed <SEED>'",
        ),
        (&["-o", "cat.gif"], "invalid -o: cat.gif", "--output"),
        (
            &["--preview", "cat.gif"],
            "invalid --preview: cat.gif",
            "--output",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let output = generate(&folder, &[&["a cat", "--device", DEVICE], flags].concat());
        fails(&folder, &output, 2, &[typed]);
        assert!(!stderr(&output).contains(other), "{}", stderr(&output));
    }
    let folder = TempDir::new().unwrap();
    for (flags, invalid) in [
        (&["-W", "100"][..], "invalid -W:"),
        (&["--height", "100"], "invalid --height:"),
        (&["-W", "100", "--height", "64"], "invalid -W or --height:"),
    ] {
        let output = generate(&folder, &[&["a cat", "--device", DEVICE], flags].concat());
        fails(&folder, &output, 2, &[invalid]);
    }
    let (model, both) = ("no-such-model", ["-m", "no-such-model", "--to", "authors"]);
    let output = program("convert")
        .args([model, "-o", "x"])
        .args(both)
        .output();
    let said = stderr(&output.unwrap());
    assert!(said.contains("'-m <DIR>'"), "{said}");
}

#[cfg(feature = "ndarray")]
#[test]
fn threads_do_not_reach_all_of_ndarray() {
    let folder = TempDir::new().unwrap();
    let flags = ["a cat", "--device", "ndarray", "--threads", "1"];
    let said = stderr(&generate(&folder, &[&flags[..], &SIZE].concat()));
    assert!(
        said.contains("warning: --threads") && said.contains("MATMUL_NUM_THREADS"),
        "{said}"
    );
}

#[test]
fn prompts_need_no_flag_and_of_repeated_values_the_last_counts() {
    let folder = TempDir::new().unwrap();
    let short = settings(
        &folder,
        &[
            "a cat", "-s", "1", "-s", "7", "-o", "x.png", "-o", "cat.png",
        ],
    );
    assert_eq!(short["prompts"], serde_json::json!(["a cat"]));
    assert_eq!(short["seeds"], serde_json::json!([7]));
    assert_eq!(
        (&short["width"], &short["height"]),
        (&64.into(), &32.into())
    );
    assert_eq!(names(&folder), ["cat.png"]);
    let both = settings(&folder, &["a cat", "-p", "a dog", "--cfg-scale", "2"]);
    assert_eq!(both["prompts"], serde_json::json!(["a cat", "a dog"]));
    assert_eq!(both["guidance_scale"], 2.0);
    let missing = generate(&folder, &["--steps", "1"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("PROMPT"), "{}", stderr(&missing));
}

#[test]
fn a_random_seed_is_said_and_recorded() {
    let folder = TempDir::new().unwrap();
    let mut seeds = Vec::new();
    for flag in [["-s", "random"], ["--seed", "-1"]] {
        let output = tiny(&folder, &[&["a cat", "--json"], &flag[..]].concat());
        let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        let seed = summary["settings"]["seeds"][0].as_u64().unwrap();
        let said = stderr(&output);
        assert!(said.contains(&format!("seed: {seed}")), "{said}");
        let (_, texts) = read_png(&folder.path().join("image.png"));
        assert!(texts["parameters"].contains(&format!("Seed: {seed}")));
        seeds.push(seed);
    }
    assert_ne!(seeds[0], seeds[1]);
    refuses(&["--seed", "-2"], &["--seed", "-2"]);
}

#[test]
fn names_of_other_programs_are_understood() {
    let folder = TempDir::new().unwrap();
    for (name, sampler, spacing) in [
        ("DPM++ 2M Karras", "dpmpp-2m", "karras"),
        ("euler_a", "euler-ancestral", "linear"),
        ("HEUN", "heun", "linear"),
    ] {
        let settings = settings(&folder, &["a cat", "--sampler", name]);
        assert_eq!(settings["sampler"], sampler);
        assert_eq!(settings["sigma_spacing"], spacing);
    }
    let overridden = ["a cat", "--sigmas", "Beta", "--sampler", "DPM++ 2M Karras"];
    assert_eq!(settings(&folder, &overridden)["sigma_spacing"], "beta");
    for (name, dtype) in [("float32", "f32"), ("BFloat16", "bf16")] {
        assert_eq!(
            settings(&folder, &["a cat", "--dtype", name])["dtype"],
            dtype
        );
    }
    succeeds(&tiny(
        &folder,
        &["a cat", "--grid", "sampler=Euler a,DPM++ 2M Karras"],
    ));
}

#[test]
fn prompts_of_a_file_are_made_one_after_another_from_the_same_seed() {
    let folder = TempDir::new().unwrap();
    let text = "a cat\n\n  a dog, asleep\r\n";
    fs::write(folder.path().join("prompts.txt"), text).unwrap();
    let output = tiny(
        &folder,
        &[
            "--prompt-file",
            "prompts.txt",
            "-s",
            "3",
            "-o",
            "{index} {prompt}.png",
        ],
    );
    succeeds(&output);
    assert_eq!(
        names(&folder),
        ["0 a-cat.png", "1 a-dog-asleep.png", "prompts.txt"]
    );
    let (dog, texts) = read_png(&folder.path().join("1 a-dog-asleep.png"));
    assert!(texts["parameters"].starts_with("a dog, asleep\n"));
    succeeds(&tiny(&folder, &["a dog, asleep", "-s", "3"]));
    assert!(dog == read_png(&folder.path().join("image.png")).0);
    let again = [
        "--from-image",
        "1 a-dog-asleep.png",
        "-o",
        "again.png",
        "--device",
        DEVICE,
    ];
    succeeds(&generate(&folder, &again));
    assert!(dog == read_png(&folder.path().join("again.png")).0);

    let piped = generate_reading(
        &folder,
        &["--prompt-file", "-", "-s", "3", "-o", "p.png"],
        text,
    );
    assert!(succeeds(&piped).contains("p-0.png, p-1.png"));
    assert!(dog == read_png(&folder.path().join("p-1.png")).0);
    let empty = generate_reading(&folder, &["--prompt-file", "-"], "\n");
    assert_eq!(empty.status.code(), Some(2));
    assert!(
        stderr(&empty).contains("standard input"),
        "{}",
        stderr(&empty)
    );
}

#[test]
fn output_names_are_filled_in_and_the_ending_says_the_format() {
    let folder = TempDir::new().unwrap();
    succeeds(&tiny(
        &folder,
        &["a cat", "--seeds", "5,6", "-o", "cat-{seed}.png"],
    ));
    assert_eq!(names(&folder), ["cat-5.png", "cat-6.png"]);
    let (pixels, _) = read_png(&folder.path().join("cat-5.png"));
    for name in ["cat.webp", "cat.jpg"] {
        succeeds(&tiny(&folder, &["a cat", "--seeds", "5", "-o", name]));
        let image = image::open(folder.path().join(name)).unwrap().to_rgb8();
        assert!(name == "cat.jpg" || image.into_raw() == pixels);
        // The settings are in the EXIF data.
        let again = ["--from-image", name, "-o", "again.png", "--device", DEVICE];
        succeeds(&generate(&folder, &again));
        assert!(pixels == read_png(&folder.path().join("again.png")).0);
    }
    refuses(&["--output", "{model}.png"], &["{model}", "{seed}"]);
    refuses(&["--output", "{seed}.gif"], &[".webp"]);
}

#[test]
fn an_image_goes_to_standard_output_alone() {
    let folder = TempDir::new().unwrap();
    let output = tiny(&folder, &["a cat", "-o", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.starts_with(b"\x89PNG"));
    assert!(image::load_from_memory(&output.stdout).is_ok());
    assert!(stderr(&output).contains("image in"), "{}", stderr(&output));
    assert!(names(&folder).is_empty());
    refuses(&["--output", "-", "--json"], &["--json"]);
    refuses(&["--output", "-", "--num-images", "2"], &["2 images"]);
}

#[test]
fn images_carry_no_folders_and_nothing_at_all_if_asked() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny");
    let start = folder.path().join("start.png");
    image::RgbImage::new(64, 32).save(&start).unwrap();
    let [model, start] = [&model, &start].map(|path| path.to_str().unwrap());
    succeeds(&tiny(
        &folder,
        &[
            "a cat",
            "-m",
            model,
            "--dtype",
            "f32",
            "--init-image",
            start,
        ],
    ));
    let (pixels, texts) = read_png(&folder.path().join("image.png"));
    for text in texts.values() {
        assert!(
            !text.contains(&folder.path().display().to_string()),
            "{text}"
        );
        assert!(!text.contains(model), "{text}");
    }
    assert!(texts["ovis-image"].contains("\"init_image\":\"start.png\""));
    // The source image is found beside the image, from another folder, too.
    let image = folder.path().join("image.png");
    let image = image.to_str().unwrap();
    let again = ["--from-image", image, "-m", model, "--device", DEVICE];
    succeeds(&generate(&elsewhere, &again));
    assert!(pixels == read_png(&elsewhere.path().join("image.png")).0);

    for name in ["plain.png", "plain.webp"] {
        succeeds(&tiny(&folder, &["a cat", "--no-metadata", "-o", name]));
        let bytes = fs::read(folder.path().join(name)).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        assert!(!has(b"cat") && !has(b"c\0a\0t") && !has(b"tEXt") && !has(b"EXIF"));
    }
}

#[test]
fn a_dump_is_read_as_initial_noise() {
    let folder = TempDir::new().unwrap();
    succeeds(&tiny(
        &folder,
        &["a cat", "-s", "9", "--dump", "run.safetensors"],
    ));
    succeeds(&tiny(
        &folder,
        &["a cat", "--latents", "run.safetensors", "-o", "b.png"],
    ));
    let pixels = |name: &str| read_png(&folder.path().join(name)).0;
    assert!(pixels("image.png") == pixels("b.png"));
}

#[test]
fn the_number_of_threads_and_of_streamed_blocks_do_not_change_the_image() {
    let folder = TempDir::new().unwrap();
    let pixels = |flags: &[&str]| {
        let output = tiny(
            &folder,
            &[&["a cat", "--dtype", "f32", "--cfg-scale", "1"], flags].concat(),
        );
        succeeds(&output);
        (
            read_png(&folder.path().join("image.png")).0,
            stderr(&output),
        )
    };
    let (plain, _) = pixels(&[]);
    assert!(plain == pixels(&["--threads", "1"]).0);
    let (all, said) = pixels(&["--stream-blocks", "all"]);
    assert!(plain == all && !said.contains("warning"), "{said}");
    let (too_many, said) = pixels(&["--stream-blocks", "99"]);
    assert!(
        plain == too_many && said.contains("warning: --stream-blocks 99"),
        "{said}"
    );
}

#[test]
fn a_shorter_sequence_is_another_image() {
    let folder = TempDir::new().unwrap();
    let short = settings(&folder, &["a cat", "--max-sequence-length", "16"]);
    assert_eq!(short["max_sequence_length"], 16);
}

#[test]
fn guidance_that_never_acts_is_warned_of() {
    let folder = TempDir::new().unwrap();
    let skip = ["a cat", "--skip-layers", "double:1"];
    let said = stderr(&tiny(&folder, &skip));
    assert!(said.contains("skip-layer guidance has no effect"), "{said}");
    let interval = ["--steps", "4", "--skip-layers-interval", "0..1"];
    let said = stderr(&tiny(&folder, &[&interval[..], &skip].concat()));
    assert!(
        said.contains("skip-layer guidance has no effect"),
        "one step: {said}"
    );
    let four = [
        &["--width", "64", "--height", "32", "--device", DEVICE],
        &interval[..],
        &skip,
    ];
    let said = stderr(&generate(&folder, &four.concat()));
    assert!(!said.contains("no effect"), "{said}");
    let said = stderr(&small(&folder, &["--guidance-interval", "0.1..0.2"]));
    assert!(said.contains("guidance has no effect"), "{said}");
    let said = stderr(&tiny(
        &folder,
        &["a cat", "--cfg-scale", "1", "--negative-prompt", "x"],
    ));
    assert!(
        said.contains("warning: --negative-prompt has no effect"),
        "{said}"
    );
}

#[test]
fn prompts_in_a_grid_may_have_commas() {
    let folder = TempDir::new().unwrap();
    let output = tiny(
        &folder,
        &[
            "--grid",
            "prompt=\"a cat, asleep\",一只猫",
            "-o",
            "grid.webp",
        ],
    );
    succeeds(&output);
    assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
    let sheet = image::open(folder.path().join("grid.webp")).unwrap();
    assert!(sheet.width() > 2 * 64 && sheet.width() < 3 * 64);
    refuses(&["--grid", "prompt=\"a cat"], &["--grid", "not closed"]);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let folder = TempDir::new().unwrap();
    for arguments in [&["a cat", "--json"][..], &["--help"], &["--man-page"]] {
        let mut command = program("generate");
        command.current_dir(&folder).args(arguments);
        if arguments[0] == "a cat" {
            command.args(SIZE).args(["--device", DEVICE]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
    }
}

#[test]
fn short_help_is_short_and_no_line_is_wide() {
    let mut programs = vec!["generate", "convert", "inspect"];
    // `train` is built with flex only.
    if cfg!(feature = "flex") {
        programs.push("train");
    }
    for name in programs {
        let short = printed(name, &["-h"]);
        let long = printed(name, &["--help"]);
        assert!(
            short.lines().count() <= 60,
            "{name}: {}",
            short.lines().count()
        );
        assert!(long.lines().count() > short.lines().count());
        for line in short.lines().chain(long.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(
            short.contains("--model") && !short.contains("--man-page"),
            "{short}"
        );
    }
    let headings = ["Sampling:", "Image to image:", "LoRA:", "Memory and speed:"];
    let short = printed("generate", &["-h"]);
    let places: Vec<usize> = headings
        .iter()
        .map(|heading| short.find(heading).unwrap())
        .collect();
    assert!(
        places.is_sorted() && short.find("--prompt").unwrap() < places[0],
        "{short}"
    );
}

#[test]
fn help_of_every_step_fits_a_terminal() {
    let dataset = [
        "ingest",
        "recaption",
        "buckets",
        "balance",
        "inspect",
        "synthesize",
    ];
    let dataset = dataset.map(|step| ("dataset", step));
    let evaluate = ["signs", "run", "read", "score", "compare"].map(|step| ("evaluate", step));
    let train = cfg!(feature = "flex").then_some(("train", "lora"));
    for (name, step) in dataset.into_iter().chain(evaluate).chain(train) {
        let (short, long) = (
            printed(name, &[step, "-h"]),
            printed(name, &[step, "--help"]),
        );
        assert!(
            short.lines().count() <= 60,
            "{}: {short}",
            short.lines().count()
        );
        // The long help has a description, not the first line only.
        let about = |help: &str| help.split("\n\nUsage: ").next().unwrap().len();
        assert!(about(&long) > about(&short), "{long}");
        // Clap does not wrap the line of usage.
        let lines = short.lines().chain(long.lines());
        for line in lines.filter(|line| !line.starts_with("Usage: ")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn completions_and_the_man_page_list_the_flags() {
    let mut programs = vec![
        ("generate", "transformer"),
        ("convert", "transformer"),
        ("inspect", "transformer"),
        ("dataset", "synthesize"),
        ("evaluate", "score"),
    ];
    // `train` is built with flex only.
    if cfg!(feature = "flex") {
        programs.push(("train", "replay"));
    }
    for (name, word) in programs {
        for shell in ["bash", "fish", "zsh"] {
            assert!(
                printed(name, &["--completions", shell]).contains(word),
                "{name}: {shell}"
            );
        }
        let page = printed(name, &["--man-page"]);
        assert!(page.contains(&format!(".TH {name}")) && page.contains(word));
    }
}

#[test]
fn each_step_of_dataset_has_a_man_page_with_its_flags() {
    let pages = printed("dataset", &["--man-page"]);
    let titles: Vec<&str> = pages
        .lines()
        .filter_map(|line| line.strip_prefix(".TH ")?.split(' ').next())
        .collect();
    assert_eq!(titles[0], "dataset");
    for (step, flag) in [
        ("synthesize", "backgrounds"),
        ("ingest", "license"),
        ("recaption", "retries"),
        ("buckets", "center"),
        ("balance", "strength"),
        ("inspect", "counts"),
    ] {
        let title = format!("dataset-{step}");
        assert!(titles.contains(&title.as_str()), "{titles:?}");
        let page = pages.split(&format!(".TH {title} ")).nth(1).unwrap();
        let page = page.split("\n.TH ").next().unwrap();
        assert!(page.contains(flag), "{title}: {page}");
    }
    assert!(
        !titles.iter().any(|title| title.ends_with("-help")),
        "{titles:?}"
    );
}

#[cfg(feature = "flex")]
#[test]
fn checkpoints_need_no_flag() {
    let folder = TempDir::new().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny");
    let model = model.to_str().unwrap();
    assert!(printed("inspect", &[model]).contains("no problems"));
    let target = folder.path().join("out");
    let target = target.to_str().unwrap();
    printed("convert", &[model, "--to", "authors", "-o", target]);
    assert!(printed("inspect", &["-m", target]).contains("no problems"));
    let both = program("inspect")
        .args([model, "-m", model])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
}
