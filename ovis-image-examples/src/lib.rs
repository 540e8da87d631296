//! What the example programs share: the embedded model, and how pictures, dumps and progress are
//! written.

pub mod convert;
pub mod generate;
pub mod inspect;
pub mod plot;
pub mod shared;
