use super::{BlockIndex, Parameter, ParameterKind, ParameterRole};

/// Builder of the list of a model's parameters, module by module.
pub(crate) struct ParameterList {
    parameters: Vec<Parameter>,
}

/// Role, or block that determines the role, of the parameters of a module being listed.
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

    /// Starts listing the parameters of a module outside the blocks.
    pub(crate) fn module(&mut self, role: ParameterRole, path: &str) -> ModuleParameters<'_> {
        self.classed(Class::Role(role), path)
    }

    /// Starts listing the parameters of a block.
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

/// Parameters of one module, added by kind of layer.
pub(crate) struct ModuleParameters<'a> {
    list: &'a mut ParameterList,
    class: Class,
    path: String,
}

impl ModuleParameters<'_> {
    /// Starts listing a module inside this one.
    pub(crate) fn inner(&mut self, name: &str) -> ModuleParameters<'_> {
        ModuleParameters {
            path: self.at(name),
            class: self.class,
            list: self.list,
        }
    }

    /// Starts listing a module inside this one whose parameters have a different role.
    pub(crate) fn inner_as(&mut self, role: ParameterRole, name: &str) -> ModuleParameters<'_> {
        ModuleParameters {
            path: self.at(name),
            class: Class::Role(role),
            list: self.list,
        }
    }

    /// Adds a linear layer with a bias; its weight is `[output, input]`.
    pub(crate) fn linear(&mut self, name: &str, input: usize, output: usize) -> &mut Self {
        self.matrix(name, input, output).bias(name, output)
    }

    /// Adds a linear layer without a bias.
    pub(crate) fn matrix(&mut self, name: &str, input: usize, output: usize) -> &mut Self {
        self.add(ParameterKind::Weight, name, "weight", [output, input])
    }

    /// Adds an embedding table, which is a parameter and no layer.
    pub(crate) fn table(&mut self, name: &str, rows: usize, features: usize) -> &mut Self {
        self.add(ParameterKind::Weight, name, "", [rows, features])
    }

    /// Adds a norm with only a scale.
    pub(crate) fn rms_norm(&mut self, name: &str, features: usize) -> &mut Self {
        self.add(ParameterKind::Scale, name, "weight", [features])
    }

    /// Adds a norm with scale and bias.
    pub(crate) fn group_norm(&mut self, name: &str, channels: usize) -> &mut Self {
        self.rms_norm(name, channels).bias(name, channels)
    }

    /// Adds a square convolution with a bias.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
    ) -> &mut Self {
        let shape = [output, input, kernel, kernel];
        self.add(ParameterKind::Weight, name, "weight", shape)
            .bias(name, output)
    }

    /// Adds a linear layer with a bias that ends a residual branch.
    pub(crate) fn residual_linear(&mut self, name: &str, features: usize) -> &mut Self {
        let shape = [features, features];
        self.add(ParameterKind::ResidualWeight, name, "weight", shape)
            .bias(name, features)
    }

    /// Adds a 3x3 convolution with a bias that ends a residual branch.
    pub(crate) fn residual_conv(&mut self, name: &str, channels: usize) -> &mut Self {
        let shape = [channels, channels, 3, 3];
        self.add(ParameterKind::ResidualWeight, name, "weight", shape)
            .bias(name, channels)
    }

    /// Adds the 3x3 convolution that outputs mean and log-variance of each latent channel.
    pub(crate) fn moments(&mut self, name: &str, input: usize, latents: usize) -> &mut Self {
        let shape = [2 * latents, input, 3, 3];
        self.add(ParameterKind::MomentsWeight, name, "weight", shape)
            .add(ParameterKind::MomentsBias, name, "bias", [2 * latents])
    }

    fn bias(&mut self, name: &str, features: usize) -> &mut Self {
        self.add(ParameterKind::Bias, name, "bias", [features])
    }

    /// Adds a single parameter `name.leaf`, or `name` if the leaf is empty.
    fn add<const D: usize>(
        &mut self,
        kind: ParameterKind,
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
            kind,
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
