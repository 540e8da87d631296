//! GPUs that AMD's compute driver lists on Linux (the kernel's `kfd_topology.c`).

use std::fs;
use std::path::Path;

/// Folder in which the driver lists its nodes, one folder each, for GPUs and for processors.
#[cfg(feature = "rocm")]
pub(super) const NODES: &str = "/sys/class/kfd/kfd/topology/nodes";

/// Returns the number of GPUs in the driver's list, or 0 without a list. A node counts if it has
/// compute units (`simd_count`) and may be read: a container cannot read the nodes of GPUs that it
/// was not given.
pub(super) fn count_gpus(nodes: &Path) -> usize {
    let Ok(entries) = fs::read_dir(nodes) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|node| fs::read_to_string(node.path().join("properties")).ok())
        .filter(|properties| is_gpu(properties))
        .count()
}

/// Returns true if the properties, a name and a number on each line, are those of a GPU.
fn is_gpu(properties: &str) -> bool {
    properties
        .lines()
        .filter_map(|line| line.split_once(' '))
        .any(|(name, value)| {
            name == "simd_count" && value.trim().parse::<u64>().is_ok_and(|units| units > 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a tree like the driver's, with the given properties of each node.
    fn tree(nodes: &[Option<&str>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, properties) in nodes.iter().enumerate() {
            let node = folder.path().join(index.to_string());
            fs::create_dir(&node).unwrap();
            if let Some(properties) = properties {
                fs::write(node.join("properties"), properties).unwrap();
            }
        }
        folder
    }

    #[test]
    fn gpus_are_the_nodes_with_compute_units() {
        let processor = "cpu_cores_count 64\nsimd_count 0\nmem_banks_count 1\n";
        let gpu = "cpu_cores_count 0\nsimd_count 1216\nsimd_per_cu 4\n";
        let nodes = tree(&[Some(processor), Some(gpu), Some(gpu), Some(""), None]);
        assert_eq!(count_gpus(nodes.path()), 2);
        assert_eq!(count_gpus(tree(&[Some(processor)]).path()), 0);
    }

    #[test]
    fn a_machine_without_the_driver_has_no_gpu() {
        let empty = tree(&[]);
        assert_eq!(count_gpus(empty.path()), 0);
        assert_eq!(count_gpus(&empty.path().join("absent")), 0);
    }
}
