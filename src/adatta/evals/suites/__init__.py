"""One file a suite, called as the suite (`_` for `-`): a module for ours, YAML for public benchmarks."""
