"""Experiments on gradient flow: the paper's analysis repeated, and taken further.

Each is a module with ``run(study)``, which trains or measures, and returns figure, numbers and
caption; the functions it is made of can be called on networks of your own. `study` has what they
share, `catalogue` lists them.
"""
