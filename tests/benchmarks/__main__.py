"""The command: see the package's docstring, and ``--help``."""

import argparse
import sys
import traceback
from pathlib import Path

if not __package__:  # run as a file: what is imported below lies two folders up
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from threadpoolctl import threadpool_limits

from minisd import machine
from tests.benchmarks import hardware, picture
from tests.benchmarks.bench import FULL, QUICK, Bench
from tests.benchmarks.peers import INSTALL
from tests.benchmarks.report import Report, Row, write
from tests.benchmarks.rows import ROWS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure minisd against other libraries on this machine.",
        epilog="About 12 minutes on 2 cores. Ctrl-C ends it; what was measured is saved.",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out"), metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME",
                        help=f"some of: {', '.join(ROWS)}")  # fmt: skip
    parser.add_argument("--repeat", type=int, help="rounds, at least 5 (default: 7; 2 if --quick)")
    parser.add_argument("--threads", type=int, default=min(2, machine.available_cores()),
                        help="of minisd and of its peers (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.repeat is None:
        args.repeat = 2 if args.quick else 7
    if args.repeat < (1 if args.quick else 5):
        parser.error(f"--repeat must be at least {1 if args.quick else 5}")
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    if args.seed < 0:
        parser.error("--seed must not be negative")
    return args


def say_what_is_missing(bench: Bench, names: list[str]) -> None:
    for peer, install in INSTALL.items():
        if bench.has(peer):
            continue
        lost = [name for name in names if ROWS[name].needs == peer]
        in_part = [name for name in names if peer in ROWS[name].wants]
        for what, which in (("missing", lost), ("in part missing", in_part)):
            if which:
                print(f"{peer} is not installed, so {what}: {', '.join(which)}. To have them: "
                      f"{install}", flush=True)  # fmt: skip


def measure_row(bench: Bench, name: str) -> bool:
    """Measure what ``name`` stands for and save each row at once; return whether all went well."""
    entry, report = ROWS[name], bench.report
    if entry.needs and not bench.has(entry.needs):
        report.rows.append(Row(name, "", missing=f"{entry.needs} is not installed"))
        report.save()
        return True
    try:
        for row in entry.measure(bench):
            report.rows.append(row)
            report.save()
            print(report.line(row), flush=True)
            if "lines" in row.details:
                picture.draw(row.details, report.folder / "benchmarks.png")
    except Exception as error:
        traceback.print_exc()
        report.rows.append(Row(name, "", missing=f"it failed: {error}"))
        report.save()
        return False
    finally:
        bench.fresh_start()
    return True


def main() -> int:
    args = arguments()
    with machine.threads(args.threads), threadpool_limits(args.threads, user_api="blas"):
        header = hardware.description(
            seed=args.seed,
            threads=args.threads,
            repeat=args.repeat,
            quick=args.quick,
            only=args.only or (),
        )
        report = Report(args.out, header)
        sizes = QUICK if args.quick else FULL
        bench = Bench(sizes, args.seed, args.repeat, args.threads, report)
        names = [name for name in ROWS if not args.only or name in args.only]
        say_what_is_missing(bench, names)
        code = 0
        try:
            if bench.has("torch"):
                import torch

                torch.set_num_threads(args.threads)
            for name in names:
                if not measure_row(bench, name):
                    code = 1
            report.status = "done"
        except KeyboardInterrupt:
            report.status, code = "interrupted", 130
        report.save()
        table = report.markdown()
        write(report.folder / "benchmarks.md", table)
    print(f"\n{table}\nSaved in {args.out}.", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
