use super::{BlockIndex, Parameter, ParameterRole};

/// Builds the list of a model's parameters, module by module.
pub(crate) struct ParameterList {
    parameters: Vec<Parameter>,
}

/// How the parameters of a module that is being listed are classed.
#[derive(Clone, Copy)]
enum Class {
    Block(BlockIndex),
    Role(ParameterRole),
}

impl ParameterList {
    pub(crate) fn new() -> Self {
        Self {
            parameters: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Vec<Parameter> {
        self.parameters
    }

    /// The parameters of a module outside of blocks.
    pub(crate) fn module(&mut self, role: ParameterRole, path: &str) -> ModuleParameters<'_> {
        self.classed(Class::Role(role), path)
    }

    /// The parameters of a block.
    pub(crate) fn block(&mut self, block: BlockIndex, path: &str) -> ModuleParameters<'_> {
        self.classed(Class::Block(block), path)
    }

    fn classed(&mut self, class: Class, path: &str) -> ModuleParameters<'_> {
        ModuleParameters {
            list: self,
            class,
            path: path.to_owned(),
        }
    }
}

/// The parameters of one module, which are added by the kind of their layer.
pub(crate) struct ModuleParameters<'a> {
    list: &'a mut ParameterList,
    class: Class,
    path: String,
}

impl ModuleParameters<'_> {
    /// A module inside this one.
    pub(crate) fn inner(&mut self, name: &str) -> ModuleParameters<'_> {
        ModuleParameters {
            path: self.at(name),
            class: self.class,
            list: self.list,
        }
    }

    /// A module inside this one whose parameters have a role of their own.
    pub(crate) fn inner_as(&mut self, role: ParameterRole, name: &str) -> ModuleParameters<'_> {
        ModuleParameters {
            path: self.at(name),
            class: Class::Role(role),
            list: self.list,
        }
    }

    /// A linear layer with a bias; its weight is `[output, input]`.
    pub(crate) fn linear(&mut self, name: &str, input: usize, output: usize) -> &mut Self {
        self.matrix(name, input, output).add(name, "bias", [output])
    }

    /// A linear layer without a bias.
    pub(crate) fn matrix(&mut self, name: &str, input: usize, output: usize) -> &mut Self {
        self.add(name, "weight", [output, input])
    }

    /// A norm with a scale alone.
    pub(crate) fn rms_norm(&mut self, name: &str, features: usize) -> &mut Self {
        self.add(name, "weight", [features])
    }

    /// A norm with scale and bias.
    pub(crate) fn group_norm(&mut self, name: &str, channels: usize) -> &mut Self {
        self.rms_norm(name, channels).add(name, "bias", [channels])
    }

    /// A square convolution.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
    ) -> &mut Self {
        self.add(name, "weight", [output, input, kernel, kernel])
            .add(name, "bias", [output])
    }

    /// A single parameter `name.leaf`, or `name` where the leaf is empty.
    pub(crate) fn add<const D: usize>(
        &mut self,
        name: &str,
        leaf: &str,
        shape: [usize; D],
    ) -> &mut Self {
        let path = [&self.path, name, leaf]
            .into_iter()
            .filter(|part| !part.is_empty());
        let role = match self.class {
            Class::Role(role) => role,
            Class::Block(block) if D > 1 => ParameterRole::BlockMatrix(block),
            Class::Block(block) => ParameterRole::BlockVector(block),
        };
        self.list.parameters.push(Parameter {
            path: path.collect::<Vec<_>>().join("."),
            shape: shape.to_vec(),
            role,
        });
        self
    }

    fn at(&self, name: &str) -> String {
        let parts = [&self.path, name]
            .into_iter()
            .filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(".")
    }
}
