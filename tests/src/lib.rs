//! Code that the tests share: golden cases, tolerances, and the model that is written in three
//! layouts.

pub mod compare;
pub mod error_chain;
pub mod golden;
pub mod layouts;
pub mod stages;
pub mod tokenizer;
pub mod tolerance;
pub mod training;
