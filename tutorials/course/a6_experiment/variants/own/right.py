"""Right answers to assignment 6 where each student has parameters of their own."""


@right("6.4", "more runs than those of the parameters")
def _():
    head, *rows = getattr(solution, "results.csv").decode().splitlines(keepends=True)
    more = [row.replace(",0.5,", ",0.6,", 1) for row in rows if row.startswith("2,")]
    claims = getattr(solution, "claims.json").decode().replace('"of":', '"p_last": 0.5, "of":')
    return {"results.csv": "".join([head, *more, *rows]).encode(), "claims.json": claims.encode()}


@right("6.4", "parameters as a spreadsheet writes them")
def _():
    text = '\ufeffseeds,student,p_last,depth\r\n 1 2  3,"Lovelace, Ada",0.50,8\r\n'
    return {"parameters.csv": text.encode()}
