"""Experiments on gradient flow: the paper's analysis, repeated and extended.

Each experiment is a module. Its function ``run(study)`` trains or measures, and returns figure,
numbers and caption. The other functions of the module also work on your own networks. `study` has
the code that all experiments share, and `catalogue` lists the experiments.
"""
