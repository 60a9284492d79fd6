# %% task 6.4 Results and claims points=15 minutes=60
# (the files results.csv, claims.json and parameters.csv, beside this one)

# %% [markdown]
# ## Your experiment
#
# Your instructor has given you parameters of your own: a depth, p_L and three seeds. Save your row
# of the table, with the head above it, as `parameters.csv` beside this file:
#
#     student,depth,p_last,seeds
#     ada@example.org,14,0.4,17320 25508 38112
#
# Your `results.csv` is whole if these three runs are in it, and the first of them is the one that
# the grader runs again. More runs are welcome, if a prediction of yours asks for them. `check` goes
# by your `parameters.csv`; the grader knows your parameters, and goes by those.
#
# This much takes some minutes. Is it enough for what you want to know?

# %%
if __name__ == "__main__":
    from minisd.course.handouts.a6.experiment import load_parameters

    DEPTH, P_LAST, SEEDS = load_parameters("parameters.csv")
    STEPS = 100
    records = [
        record for seed in SEEDS for record in two_arms(digits(), seed, DEPTH, STEPS, P_LAST)
    ]
    save(records, "results.csv")
    print(summary(records))
    print(number_of({"of": "g1", "arm": "constant"}, records))
