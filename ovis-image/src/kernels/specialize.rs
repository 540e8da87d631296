//! Selection of a kernel by the type of the backend. `B` is a type parameter, so the comparison is
//! a constant in each instance of a function, and the branch not taken costs nothing at run time.

use std::any::Any;

/// Runs `kernel` if the operands are of its backend, or returns them. `Operands` and `Output` name
/// the types for a backend `B`, `KernelOperands` and `KernelOutput` the same types for the kernel's.
pub(super) fn on_type<Operands, KernelOperands, Output, KernelOutput>(
    operands: Operands,
    kernel: impl FnOnce(KernelOperands) -> KernelOutput,
) -> Result<Output, Operands>
where
    Operands: 'static,
    KernelOperands: 'static,
    Output: 'static,
    KernelOutput: 'static,
{
    match cast::<Operands, KernelOperands>(operands) {
        Err(operands) => Err(operands),
        Ok(operands) => match cast::<KernelOutput, Output>(kernel(operands)) {
            Ok(output) => Ok(output),
            Err(_) => unreachable!("operands of a backend give an output of that backend"),
        },
    }
}

/// Casts the value to a `T` if that is its type, or returns it.
fn cast<S: 'static, T: 'static>(value: S) -> Result<T, S> {
    let mut value = Some(value);
    let same = (&mut value as &mut dyn Any).downcast_mut::<Option<T>>();
    match (same.and_then(Option::take), value) {
        (Some(same), _) => Ok(same),
        (None, Some(value)) => Err(value),
        (None, None) => unreachable!("it was taken only if it was of type `T`"),
    }
}
