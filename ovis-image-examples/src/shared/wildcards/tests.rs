use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn draw(template: &str, seed: u64) -> Result<String> {
    Wildcards::default().draw(template, &mut Draw::new(seed, 0, 0))
}

/// What a template draws for many seeds.
fn drawn(wildcards: &mut Wildcards, template: &str) -> BTreeSet<String> {
    (0..200)
        .map(|seed| {
            wildcards
                .draw(template, &mut Draw::new(seed, 0, 0))
                .unwrap()
        })
        .collect()
}

fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

fn folder(files: &[(&str, &str)]) -> (TempDir, Wildcards) {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wildcards = Wildcards::new(Some(WildcardFolder::open(folder.path()).unwrap()));
    (folder, wildcards)
}

#[test]
fn an_alternative_is_drawn_and_the_same_for_the_same_seed() {
    let plain = &mut Wildcards::default();
    for (template, expected) in [
        ("a {red|blue} cat", set(["a red cat", "a blue cat"])),
        ("a cat{ asleep|}", set(["a cat asleep", "a cat"])),
        ("{|}", set([""])),
        ("{a|{b|c}d}", set(["a", "bd", "cd"])),
        ("{a|b}{c|d}", set(["ac", "ad", "bc", "bd"])),
        ("{a|猫}", set(["a", "猫"])),
    ] {
        assert_eq!(drawn(plain, template), expected, "{template}");
        assert_eq!(draw(template, 7).unwrap(), draw(template, 7).unwrap());
    }
}

#[test]
fn weights_are_relative() {
    let plain = &mut Wildcards::default();
    assert_eq!(drawn(plain, "{0::red|blue}"), set(["blue"]));
    assert_eq!(drawn(plain, "{2::red|blue}"), set(["red", "blue"]));
    let red = (0..1000).filter(|seed| draw("{3::red|1::blue}", *seed).unwrap() == "red");
    assert!((700..800).contains(&red.count()));
    // What is not a weight is text.
    for text in ["std::vec", "-1::a", "1e3::a", "::a", "1.2.3::a", "inf::a"] {
        assert_eq!(
            drawn(plain, &format!("{{{text}|{text}}}")),
            set([text]),
            "{text}"
        );
    }
    let error = draw("{0::a|0::b}", 1).unwrap_err();
    assert!(error.to_string().contains("weights"), "{error}");
}

#[test]
fn braces_without_alternatives_and_what_is_escaped_are_text() {
    let plain = &mut Wildcards::default();
    for text in [
        "",
        "a sign that says \"{hello}\"",
        "{",
        "}",
        "a | b",
        "}a|b{",
        "{a {b} c}",
        "a { b | c",
        "C:\\dir\\name \\\\server",
        "____",
        "name: ______",
        "__ a __",
        "__a b__",
        "def __init__(self)",
    ] {
        assert_eq!(drawn(plain, text), set([text]), "{text}");
    }
    for (escaped, text) in [
        ("\\{red|blue\\}", "{red|blue}"),
        ("{a\\|b|a\\|b}", "a|b"),
        ("\\__init__", "__init__"),
        ("\\\\{a|a}", "\\a"),
        ("\\\\\\{a|a}", "\\{a|a}"),
    ] {
        assert_eq!(drawn(plain, escaped), set([text]), "{escaped}");
    }
    assert_eq!(
        drawn(plain, "{a {x}|b}{c"),
        set(["a {x}{c", "b{c"]),
        "text and alternatives"
    );
}

#[test]
fn several_alternatives_at_once_are_refused() {
    for template in ["{2$$a|b}", "{1-3$$a|b}", "{2$$ and $$a|b}"] {
        let error = draw(template, 1).unwrap_err();
        assert!(error.to_string().contains("$$"), "{error}");
    }
    assert_eq!(draw("{US$$5|US$$5}", 1).unwrap(), "US$$5");
}

#[test]
fn lines_of_files_are_drawn() {
    let (_folder, mut wildcards) = folder(&[
        ("color.txt", "\u{feff}# colors\n\nred \n  blue\n0::green\n"),
        ("animals/pet.txt", "a __color__ {cat|dog}\r\n"),
        ("large_cat.txt", "lion"),
    ]);
    assert_eq!(drawn(&mut wildcards, "__color__"), set(["red", "blue"]));
    assert_eq!(
        drawn(&mut wildcards, "__animals/pet__!"),
        set(["a red cat!", "a blue cat!", "a red dog!", "a blue dog!"])
    );
    assert_eq!(drawn(&mut wildcards, "__large_cat__"), set(["lion"]));
    assert_eq!(drawn(&mut wildcards, "{__large_cat__|lion}"), set(["lion"]));
    assert_eq!(drawn(&mut wildcards, "\\__color__"), set(["__color__"]));
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let (folder, mut wildcards) = folder(&[
        ("empty.txt", "# nothing\n"),
        ("itself.txt", "again __itself__"),
        ("several.txt", "good\n{2$$a|b}"),
        ("latin.txt", ""),
        ("many.txt", &"__itself2__".repeat(200)),
        ("itself2.txt", &"__many__".repeat(2)),
    ]);
    fs::write(folder.path().join("latin.txt"), b"caf\xe9").unwrap();
    let large = vec![b'a'; folder::MOST_BYTES as usize + 1];
    fs::write(folder.path().join("large.txt"), large).unwrap();
    fs::create_dir(folder.path().join("folder.txt")).unwrap();
    for (template, text) in [
        ("__none__", "none.txt"),
        ("__empty__", "no lines"),
        ("__itself__", "name itself"),
        ("__several__", "line 2"),
        ("__latin__", "UTF-8"),
        ("__large__", "larger than"),
        ("__folder__", "regular file"),
        ("__many__", "itself"),
        ("__../secret__", "does not name a file in"),
        ("__a/../../b__", "does not name a file in"),
        ("__/etc/passwd__", "does not name a file in"),
        ("__.hidden__", "does not name a file in"),
        ("__a//b__", "does not name a file in"),
        ("__col*__", "`*`"),
    ] {
        let error = wildcards
            .draw(template, &mut Draw::new(1, 0, 0))
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(text), "{template}: {error}");
    }
    assert!(WildcardFolder::open(&folder.path().join("none")).is_err());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let (folder, mut wildcards) = folder(&[]);
    let pipe = folder.path().join("pipe.txt");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let error = wildcards
        .draw("__pipe__", &mut Draw::new(1, 0, 0))
        .unwrap_err();
    assert!(format!("{error:#}").contains("regular file"), "{error:#}");
}

#[test]
fn growth_and_depth_are_bounded() {
    let nested = |depth: usize| format!("{}x{}", "{a|".repeat(depth), "}".repeat(depth));
    draw(&nested(template::MOST_NESTED), 1).unwrap();
    let error = draw(&nested(template::MOST_NESTED + 1), 1).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    // Deep braces without alternatives cost nothing.
    let braces = "{".repeat(100_000) + &"}".repeat(100_000);
    assert_eq!(braces.len(), 200_000);
    assert!(draw(&braces, 1).unwrap_err().to_string().contains("longer"));
    assert!(draw(&"{a|".repeat(20_000), 1).is_ok());
    assert!(draw(&"{|}".repeat(MOST_DRAWS + 1), 1).is_err());
    // Each file doubles the next: 2^16 lines.
    let files: Vec<(String, String)> = (0..MOST_NESTED_FILES)
        .map(|index| {
            let next = index + 1;
            (format!("f{index}.txt"), format!("__f{next}____f{next}__"))
        })
        .collect();
    let mut files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    files.push(("f16.txt", "{|}"));
    let (_folder, mut wildcards) = folder(&files);
    assert!(wildcards.draw("__f1__", &mut Draw::new(1, 0, 0)).is_err());
}

/// A template and everything that it can draw.
fn language() -> impl Strategy<Value = (String, BTreeSet<String>)> {
    let text = prop_oneof![
        "[a-z ,]{0,3}",
        Just("猫".to_owned()),
        Just("(x:1.2)".to_owned())
    ]
    .prop_map(|text| (text.clone(), BTreeSet::from([text])));
    let escaped = prop::sample::select(vec!["{", "}", "|", "__"])
        .prop_map(|text| (format!("\\{text}"), set([text])));
    let leaf = prop_oneof![3 => text, 1 => escaped];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let choice = prop::collection::vec(inner.clone(), 2..4).prop_map(|alternatives| {
            let (templates, sets): (Vec<String>, Vec<BTreeSet<String>>) =
                alternatives.into_iter().unzip();
            let language = sets.into_iter().flatten().collect();
            (format!("{{{}}}", templates.join("|")), language)
        });
        let sequence = (inner.clone(), inner).prop_map(|((a, first), (b, second))| {
            let both = first
                .iter()
                .flat_map(|a| second.iter().map(move |b| format!("{a}{b}")));
            (format!("{a}{b}"), both.collect())
        });
        prop_oneof![choice, sequence]
    })
}

proptest! {
    #[test]
    fn every_prompt_that_is_drawn_is_one_of_the_language(
        (template, language) in language(),
        seeds in prop::collection::vec(any::<u64>(), 8),
    ) {
        for seed in seeds {
            let prompt = draw(&template, seed).unwrap();
            prop_assert!(language.contains(&prompt), "{} drew {}", template, prompt);
        }
    }

    #[test]
    fn hostile_templates_are_drawn_or_refused(
        template in r"(\PC|[{|}\\]|__|a|/|\.\.|2::|2\$\$){0,60}",
        seed: u64,
    ) {
        let _ = draw(&template, seed);
        let (_folder, mut wildcards) = folder(&[("a.txt", &template)]);
        let _ = wildcards.draw(&template, &mut Draw::new(seed, 1, 2));
    }

    #[test]
    fn text_without_backslashes_bars_and_underscores_stays(text in r"[^\\|_]{0,60}") {
        prop_assert_eq!(draw(&text, 3).unwrap(), text);
    }
}
