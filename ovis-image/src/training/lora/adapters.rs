use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::config::{LoraConfig, TargetModule};
use crate::error::Result;
use crate::lora::{LoraFile, StartModule, layer_shapes, read_start, scaling};
use crate::sampling::NoiseGenerator;
use crate::training::initialize::seed_of;
use crate::transformer::OvisImageTransformer;

/// Adapter of one module in training, in f32.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LoraModule<B: Backend> {
    /// Projection to the rank, `[rank, in]` (PEFT: `lora_A`).
    pub down: Param<Tensor<B, 2>>,
    /// Projection from the rank, `[out, rank]` (PEFT: `lora_B`).
    pub up: Param<Tensor<B, 2>>,
    /// Name of the module in diffusers' naming.
    pub name: String,
    /// Numerator of the factor of the update.
    pub alpha: f64,
    /// True if alpha is divided by the root of the rank instead of the rank.
    pub rank_stabilized: bool,
}

impl<B: Backend> LoraModule<B> {
    /// Returns the rank.
    pub fn rank(&self) -> usize {
        let [rank, _] = self.down.lazy_shape().dims();
        rank
    }

    /// Returns the factor of the product of both matrices.
    pub fn scaling(&self) -> f32 {
        scaling(self.alpha, self.rank(), self.rank_stabilized)
    }

    /// Initializes as PEFT does: the down projection from torch's uniform distribution of Kaiming
    /// with `a = sqrt(5)`, whose bound is `1 / sqrt(in)`, and the up projection with zeros.
    fn first(target: TargetModule, rank_stabilized: bool, seed: u64, device: &B::Device) -> Self {
        let TargetModule {
            module,
            rank,
            alpha,
        } = target;
        let bound = 1.0 / (module.input as f32).sqrt();
        let mut generator = NoiseGenerator::from_seed(seed_of(seed, &module.name));
        let uniform = |_| (2.0 * generator.uniform() - 1.0) * bound;
        let down: Vec<f32> = (0..rank * module.input).map(uniform).collect();
        let down = TensorData::new(down, [rank, module.input]);
        Self {
            down: Param::from_tensor(Tensor::from_data(down, (device, DType::F32))),
            up: Param::from_tensor(Tensor::zeros([module.output, rank], (device, DType::F32))),
            name: module.name,
            alpha,
            rank_stabilized,
        }
    }

    fn read(start: StartModule, device: &B::Device) -> Self {
        let upload = |data| Param::from_tensor(Tensor::from_data(data, (device, DType::F32)));
        Self {
            down: upload(start.down),
            up: upload(start.up),
            name: start.name,
            alpha: start.alpha,
            rank_stabilized: start.rank_stabilized,
        }
    }
}

/// Adapters of a transformer in training. Parameters have the paths `<module>.down` and
/// `<module>.up`, so that a saved state fits only adapters of the same modules.
#[derive(Debug, Clone)]
pub struct LoraAdapters<B: Backend> {
    modules: Vec<LoraModule<B>>,
    /// Path and `[out, in]` of the transformer's linear layers.
    layers: Vec<(String, [usize; 2])>,
}

impl<B: Backend> LoraAdapters<B> {
    /// Creates adapters that add nothing yet, depending on the configuration and the seed alone.
    ///
    /// # Errors
    /// Returns [`LoraError`](crate::error::LoraError) if a pattern matches nothing, a rank is 0 or
    /// an alpha is not finite.
    pub fn new(
        config: &LoraConfig,
        transformer: &OvisImageTransformer<B>,
        seed: u64,
        device: &B::Device,
    ) -> Result<Self> {
        let targets = config.target_modules(transformer)?.into_iter();
        let modules = targets
            .map(|target| LoraModule::first(target, config.rank_stabilized, seed, device))
            .collect();
        Ok(Self {
            modules,
            layers: layer_shapes(transformer),
        })
    }

    /// Reads an adapter to be trained further. Modules, ranks and alphas are those of the file.
    ///
    /// # Errors
    /// Returns [`LoraError`](crate::error::LoraError) if the adapter was made for another model, or
    /// the errors of reading the file.
    pub fn read(
        lora: &LoraFile,
        transformer: &OvisImageTransformer<B>,
        device: &B::Device,
    ) -> Result<Self> {
        let modules = read_start(lora, transformer)?.into_iter();
        Ok(Self {
            modules: modules
                .map(|module| LoraModule::read(module, device))
                .collect(),
            layers: layer_shapes(transformer),
        })
    }

    /// Returns the modules, in the order of their names.
    pub fn modules(&self) -> &[LoraModule<B>] {
        &self.modules
    }

    /// Returns path and `[out, in]` of the transformer's linear layers.
    pub(super) fn layers(&self) -> &[(String, [usize; 2])] {
        &self.layers
    }

    fn map_modules(self, change: impl FnMut(LoraModule<B>) -> LoraModule<B>) -> Self {
        Self {
            modules: self.modules.into_iter().map(change).collect(),
            layers: self.layers,
        }
    }
}

/// Written by hand, because Burn names the parts of a list by index.
impl<B: Backend> Module<B> for LoraAdapters<B> {
    type Record = <Vec<LoraModule<B>> as Module<B>>::Record;

    fn collect_devices(&self, devices: Vec<B::Device>) -> Vec<B::Device> {
        self.modules.collect_devices(devices)
    }

    fn fork(self, device: &B::Device) -> Self {
        self.map_modules(|module| module.fork(device))
    }

    fn to_device(self, device: &B::Device) -> Self {
        self.map_modules(|module| module.to_device(device))
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        for module in &self.modules {
            visitor.enter_module(&module.name, "LoraAdapters");
            module.visit(visitor);
            visitor.exit_module(&module.name, "LoraAdapters");
        }
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        self.map_modules(|module| {
            let name = module.name.clone();
            mapper.enter_module(&name, "LoraAdapters");
            let module = module.map(mapper);
            mapper.exit_module(&name, "LoraAdapters");
            module
        })
    }

    fn load_record(self, record: Self::Record) -> Self {
        Self {
            modules: self.modules.load_record(record),
            layers: self.layers,
        }
    }

    fn into_record(self) -> Self::Record {
        self.modules.into_record()
    }
}
