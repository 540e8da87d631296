//! Imports run one way, as ARCHITECTURE.md says: no files of a crate import each other in a circle,
//! and each room of the library imports only rooms below it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Path of a module from the root of its crate.
type Module = Vec<String>;

/// Modules of a crate that each module imports. Tests and imports from the folders that a module is
/// in, whose `mod.rs` may define what it uses, are left out.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Texts of a crate's modules, and the modules that define what others re-export.
struct Crate {
    texts: BTreeMap<Module, String>,
    exports: BTreeMap<(Module, String), Module>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads the modules of a folder, without tests and comments.
fn read(folder: &Path, module: &[String], texts: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let inside = [module, &[name.to_owned()]].concat();
        if ["bin", "tests", "testing"].contains(&name) {
            continue;
        } else if path.is_dir() {
            read(&path, &inside, texts);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().map(|line| line.split("//").next().unwrap());
            let is_root = name == "mod" || name == "lib";
            let module = if is_root { module.to_vec() } else { inside };
            texts.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Divides a list at the commas outside of braces.
fn parts(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for character in list.chars() {
        match character {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(character),
        }
        depth += i32::from(character == '{') - i32::from(character == '}');
    }
    parts
}

/// Lists the paths of a `use`, whose braces are nested.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    match tree.split_once('{') {
        None if tree.is_empty() => Vec::new(),
        None => vec![tree.split(" as ").next().unwrap().trim().to_owned()],
        Some((start, rest)) => parts(rest.strip_suffix('}').unwrap())
            .iter()
            .flat_map(|part| expanded(part))
            .map(|end| format!("{start}{end}"))
            .collect(),
    }
}

/// Paths that a text imports, and those that it re-exports.
fn paths(text: &str) -> [Vec<String>; 2] {
    let (mut imported, mut exported) = (Vec::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let visible = ["pub use ", "pub(crate) use ", "pub(super) use "];
        let visible = visible
            .iter()
            .find_map(|start| line.trim().strip_prefix(start));
        let Some(first) = visible.or(line.trim().strip_prefix("use ")) else {
            let starts = ["crate::", "super::"].into_iter();
            imported.extend(starts.flat_map(|start| paths_from(line, start)));
            continue;
        };
        let mut tree = first.to_owned();
        while !tree.contains(';') {
            tree += lines.next().unwrap().trim();
        }
        let list = if visible.is_some() {
            &mut exported
        } else {
            &mut imported
        };
        list.extend(expanded(tree.trim_end_matches(';')));
    }
    [imported, exported]
}

/// Lists the paths in a line of code that begin with a word.
fn paths_from<'l>(line: &'l str, start: &str) -> impl Iterator<Item = String> + use<'l> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let found: Vec<usize> = line.match_indices(start).map(|(at, _)| at).collect();
    let begins = move |at: &usize| !line[..*at].chars().next_back().is_some_and(is_path);
    found
        .into_iter()
        .filter(begins)
        .map(move |at| line[at..].split(|c| !is_path(c)).next().unwrap().to_owned())
}

impl Crate {
    fn read(folder: &str) -> Self {
        let mut texts = BTreeMap::new();
        read(&root().join(folder), &[], &mut texts);
        let mut exports = BTreeMap::new();
        // A name may be re-exported from level to level.
        for _ in 0..4 {
            let known = Self {
                texts: texts.clone(),
                exports,
            };
            let mut found = BTreeMap::new();
            for (module, text) in &texts {
                let [_, exported] = paths(text);
                for path in exported {
                    let name = path.rsplit("::").next().unwrap().to_owned();
                    if let Some(defining) = known.module_of(module, &path) {
                        found.insert((module.clone(), name), defining);
                    }
                }
            }
            exports = found;
        }
        Self { texts, exports }
    }

    /// Returns the module that defines what a path in a module names; `None` for other crates.
    fn module_of(&self, module: &[String], path: &str) -> Option<Module> {
        let mut names = path.split("::").filter(|name| !name.is_empty()).peekable();
        let mut found = match *names.peek()? {
            "crate" => Vec::new(),
            _ => module.to_vec(),
        };
        while names
            .next_if(|name| ["crate", "self"].contains(name))
            .is_some()
        {}
        let is_outer = path.starts_with("super");
        while names.next_if_eq(&"super").is_some() {
            found.pop();
        }
        let is_inner = |found: &Module, name: &str| {
            self.texts
                .contains_key(&[found.as_slice(), &[name.to_owned()]].concat())
        };
        let first = *names.peek()?;
        if !is_outer && found == module && !path.starts_with("crate") && !is_inner(&found, first) {
            return None;
        }
        while let Some(name) = names.next_if(|name| is_inner(&found, name)) {
            found.push(name.to_owned());
        }
        let name = names.next().unwrap_or_default().to_owned();
        let defining = self.exports.get(&(found.clone(), name));
        Some(defining.cloned().unwrap_or(found))
    }

    fn imports(&self) -> Imports {
        let of_module = |(module, text): (&Module, &String)| {
            let [imported, _] = paths(text);
            let modules = imported
                .iter()
                .filter_map(|path| self.module_of(module, path));
            let others = modules.filter(|other| !module.starts_with(other));
            (module.clone(), others.collect())
        };
        self.texts.iter().map(of_module).collect()
    }
}

/// Finds a circle of modules that is reached from the last module of a path.
fn circle(imports: &Imports, path: &mut Vec<Module>, done: &mut BTreeSet<Module>) -> bool {
    let last = path.last().unwrap().clone();
    for next in imports.get(&last).into_iter().flatten() {
        if let Some(at) = path.iter().position(|module| module == next) {
            path.drain(..at);
            return true;
        }
        if done.contains(next) {
            continue;
        }
        path.push(next.clone());
        if circle(imports, path, done) {
            return true;
        }
        path.pop();
    }
    done.insert(last);
    false
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in ["ovis-image/src", "ovis-image-examples/src"] {
        let imports = Crate::read(folder).imports();
        let edges: usize = imports.values().map(BTreeSet::len).sum();
        assert!(edges > 300, "only {edges} imports were found in {folder}");
        let mut done = BTreeSet::new();
        for module in imports.keys() {
            let mut path = vec![module.clone()];
            let names = |path: &[Module]| -> Vec<String> {
                path.iter().map(|module| module.join("::")).collect()
            };
            if !done.contains(module) {
                let found = circle(&imports, &mut path, &mut done);
                assert!(!found, "circle in {folder}: {:?}", names(&path));
            }
        }
    }
}

#[test]
fn rooms_import_only_rooms_below_them() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rooms = page.split("## The rooms of").nth(1).unwrap();
    let rooms = rooms.split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for (number, line) in rooms.lines().enumerate() {
        let Some(cells) = line.strip_prefix("| `") else {
            continue;
        };
        let cell = cells.split('|').next().unwrap();
        for name in cell.split([',', '`', ' ']).filter(|name| !name.is_empty()) {
            rows.insert(name.to_owned(), number);
        }
    }
    for (module, imported) in Crate::read("ovis-image/src").imports() {
        for other in imported {
            let (Some(from), Some(to)) = (module.first(), other.first()) else {
                continue;
            };
            let row = |room| {
                rows.get(room)
                    .unwrap_or_else(|| panic!("{room} is in no row"))
            };
            let is_below = from == to || row(from) < row(to);
            assert!(
                is_below,
                "{} imports {}",
                module.join("::"),
                other.join("::")
            );
        }
    }
}
