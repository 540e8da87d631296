//! Ground truth of a sample: the drawn text and its boxes, exact to the pixel.

/// Rectangle of pixels that contains all pixels of the ink, also of rotated text. Shadows do not
/// count as ink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InkBox {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Column after the last.
    pub right: u32,
    /// Row after the last.
    pub bottom: u32,
}

impl InkBox {
    /// Number of columns.
    pub fn width(&self) -> u32 {
        self.right - self.left
    }

    /// Number of rows.
    pub fn height(&self) -> u32 {
        self.bottom - self.top
    }

    /// Returns whether the pixel is inside.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }

    /// Returns the smallest box around both.
    pub fn union(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Returns the smallest box around all, or `None` if there are none.
    pub fn around(boxes: impl IntoIterator<Item = Self>) -> Option<Self> {
        boxes.into_iter().reduce(Self::union)
    }
}

/// A field of text, such as the words of a sign or the label of a button.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnField {
    /// Name of the field in its layout.
    pub name: String,
    /// The whole text in one line.
    pub words: String,
    /// Box of all ink.
    pub bounds: InkBox,
    /// Lines from top to bottom.
    pub lines: Vec<DrawnLine>,
    /// Full name of the font.
    pub font: String,
    /// English name of the color of the text.
    pub color: &'static str,
}

impl DrawnField {
    /// Returns the lines with line feeds between them.
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        lines.join("\n")
    }
}

/// A line of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnLine {
    /// Characters of the line.
    pub text: String,
    /// Box of the ink.
    pub bounds: InkBox,
    /// Characters that have ink, in reading order.
    pub characters: Vec<DrawnCharacter>,
}

/// A character of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnCharacter {
    /// The character, or the characters of a ligature.
    pub text: String,
    /// Box of the ink.
    pub bounds: InkBox,
}
