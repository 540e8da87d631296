//! Fonts to draw with: the embedded ones, or those of a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cosmic_text::fontdb::{Database, FaceInfo, ID, Language, Source, Stretch, Style, Weight};
use sha2::{Digest, Sha256};

use super::error::TypographyError;

/// Files of the embedded fonts, reduced to the printable characters of ASCII and to some Chinese
/// characters.
static EMBEDDED: [&[u8]; 6] = [
    include_bytes!("../../fonts/DejaVuSans.ttf"),
    include_bytes!("../../fonts/DejaVuSans-Bold.ttf"),
    include_bytes!("../../fonts/DejaVuSerif.ttf"),
    include_bytes!("../../fonts/DejaVuSerif-Bold.ttf"),
    include_bytes!("../../fonts/DejaVuSansMono-Bold.ttf"),
    include_bytes!("../../fonts/WenQuanYiMicroHei.ttf"),
];

/// File extensions of fonts.
const EXTENSIONS: [&str; 4] = ["ttf", "otf", "ttc", "otc"];

/// Set of fonts. It is cheap to clone.
#[derive(Clone)]
pub struct Fonts {
    pub(super) faces: Arc<Vec<Face>>,
    pub(super) database: Arc<Database>,
    origin: String,
    hash: String,
    unreadable: Vec<PathBuf>,
}

/// A font: a file, or one font of a collection.
#[derive(Clone, Debug)]
pub struct Face {
    /// Family and style, such as `DejaVu Sans Bold`.
    pub name: String,
    /// Family, such as `DejaVu Sans`.
    pub family: String,
    /// True if the font is bold.
    pub bold: bool,
    pub(super) id: ID,
    pub(super) weight: Weight,
    pub(super) style: Style,
    pub(super) stretch: Stretch,
    /// Name in the database. The shaper finds fonts by family, so each font is a family there.
    pub(super) alias: String,
}

impl std::fmt::Debug for Fonts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.names().collect();
        formatter.debug_tuple("Fonts").field(&names).finish()
    }
}

impl Fonts {
    /// Returns the fonts that are part of the program: five of the DejaVu fonts for letters, digits
    /// and punctuation of ASCII, and one for the Chinese characters of the preset `bilingual`.
    pub fn embedded() -> Self {
        let mut fonts = Builder::default();
        for bytes in EMBEDDED {
            fonts.add(bytes);
        }
        fonts.finish("the program".to_owned())
    }

    /// Reads all fonts of a folder and of the folders in it.
    ///
    /// # Errors
    /// Returns an error that names the folder if it cannot be read or contains no font.
    pub fn of_folder(folder: &Path) -> Result<Self, TypographyError> {
        let mut fonts = Builder::default();
        for path in files_of(folder, &EXTENSIONS)? {
            let read = std::fs::read(&path);
            let bytes = read.map_err(|source| TypographyError::Read {
                path: path.clone(),
                source,
            })?;
            if !fonts.add(bytes) {
                fonts.unreadable.push(path);
            }
        }
        if fonts.faces.is_empty() {
            return Err(TypographyError::NoFonts(folder.to_owned()));
        }
        Ok(fonts.finish(folder.display().to_string()))
    }

    /// Returns the names of the fonts, sorted by file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.faces.iter().map(|face| face.name.as_str())
    }

    /// Returns the origin of the fonts, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the hash of the contents of all files.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the files that have the extension of a font but are not fonts.
    pub fn unreadable(&self) -> &[PathBuf] {
        &self.unreadable
    }

    /// Keeps only the fonts with these names or families.
    ///
    /// # Errors
    /// Returns an error that lists the fonts if a name is unknown.
    pub fn only(&self, names: &[String]) -> Result<Self, TypographyError> {
        let mut faces = Vec::new();
        for name in names {
            let before = faces.len();
            let named = |face: &&Face| face.name == *name || face.family == *name;
            faces.extend(self.faces.iter().filter(named).cloned());
            if faces.len() == before {
                let known: Vec<String> = self.names().map(|name| format!("`{name}`")).collect();
                return Err(TypographyError::UnknownFont {
                    name: name.clone(),
                    fonts: self.origin.clone(),
                    known: known.join(", "),
                });
            }
        }
        faces.sort_by_key(|face| face.id);
        faces.dedup_by_key(|face| face.id);
        Ok(Self {
            faces: Arc::new(faces),
            ..self.clone()
        })
    }
}

/// Collects fonts.
#[derive(Default)]
struct Builder {
    database: Database,
    faces: Vec<Face>,
    unreadable: Vec<PathBuf>,
    hash: Sha256,
}

impl Builder {
    /// Adds the fonts of a file. Returns whether it contains any.
    fn add(&mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> bool {
        self.hash.update(Sha256::digest(bytes.as_ref()));
        let mut parsed = Database::new();
        parsed.load_font_source(Source::Binary(Arc::new(bytes)));
        let before = self.faces.len();
        for info in parsed.faces() {
            let Some((family, _)) = info.families.first() else {
                continue;
            };
            let alias = format!("font {}", self.faces.len());
            let renamed = FaceInfo {
                families: vec![(alias.clone(), Language::English_UnitedStates)],
                ..info.clone()
            };
            self.faces.push(Face {
                name: full_name(family, info),
                family: family.clone(),
                bold: info.weight >= Weight::SEMIBOLD,
                id: self.database.push_face_info(renamed),
                weight: info.weight,
                style: info.style,
                stretch: info.stretch,
                alias,
            });
        }
        self.faces.len() > before
    }

    fn finish(self, origin: String) -> Fonts {
        Fonts {
            faces: Arc::new(self.faces),
            database: Arc::new(self.database),
            origin,
            hash: self
                .hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            unreadable: self.unreadable,
        }
    }
}

fn full_name(family: &str, info: &FaceInfo) -> String {
    let mut name = family.to_owned();
    let weight = match info.weight.0 {
        ..=149 => " Thin",
        150..=249 => " Extra Light",
        250..=349 => " Light",
        350..=449 => "",
        450..=549 => " Medium",
        550..=649 => " Semibold",
        650..=749 => " Bold",
        750..=849 => " Extra Bold",
        850.. => " Black",
    };
    if info.stretch < Stretch::Normal {
        name.push_str(" Condensed");
    }
    name.push_str(weight);
    if info.style != Style::Normal {
        name.push_str(" Italic");
    }
    name
}

/// Lists the files with these endings in a folder and in those below, sorted, so that the order
/// does not depend on the file system. Links to folders are not followed.
pub(super) fn files_of(
    folder: &Path,
    extensions: &[&str],
) -> Result<Vec<PathBuf>, TypographyError> {
    let failed = |path: &Path, source| TypographyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let entry = entry.map_err(|error| failed(&folder, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| failed(&path, error))?;
            let wanted = path.extension().is_some_and(|found| {
                extensions
                    .iter()
                    .any(|known| found.eq_ignore_ascii_case(known))
            });
            if kind.is_dir() {
                folders.push(path);
            } else if wanted && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
