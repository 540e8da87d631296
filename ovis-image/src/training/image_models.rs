use burn::module::Module;
use burn::tensor::backend::Backend;

use super::CharacterHead;
use crate::text_encoder::TextEncoder;
use crate::transformer::OvisImageTransformer;

/// Models that flow matching trains. A text encoder that is absent is frozen: its embeddings come
/// with the batch.
#[derive(Module, Debug)]
pub struct ImageModels<B: Backend> {
    /// Transformer.
    pub transformer: OvisImageTransformer<B>,
    /// Text encoder, if it is trained too.
    pub text_encoder: Option<TextEncoder<B>>,
    /// Head of the auxiliary term.
    pub auxiliary: Option<CharacterHead<B>>,
}
