"""Every kernel of a training step, and whether NVIDIA's own compiler takes it.

    python -m tests.kernels record FOLDER          where CuPy has a device: run steps, keep sources
    python -m tests.kernels compile FOLDER 80 90   where NVRTC is: compile them for sm_80 and sm_90

The second wants CuPy and ``pip install nvidia-cuda-nvrtc`` (of the same CUDA), but no driver.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def record(folder: Path) -> int:
    """Train with every shortcut and branch, evaluate, and write down what CuPy compiles."""
    from cupy.cuda import compiler

    sys.path.insert(0, str(Path(__file__).parent))  # as pytest has it

    from minisd.cli.gpu_check import trained
    from minisd.runs.session import train
    from tiny_runs import tiny

    folder.mkdir(parents=True, exist_ok=True)
    original = compiler._compile_with_cache_cuda

    def compile_and_keep(source: str, options: Any, *rest: Any, **named: Any) -> Any:
        names = list(named.get("name_expressions") or (rest[4] if len(rest) > 4 else None) or ())
        text = json.dumps({"source": source, "options": list(options), "names": names})
        (folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json").write_text(text)
        return original(source, options, *rest, **named)

    compiler._compile_with_cache_cuda = compile_and_keep
    for options in ({}, {"shortcut": "projection", "scale": "train"}, {"shortcut": "A-subsample"}):
        trained("cuda", "float32", steps=4, **options)
    train(tiny(device="cuda", epochs=1), folder / "run")
    count = len(list(folder.glob("*.json")))
    print(f"{count} kernel sources in {folder}")
    return 0 if count else 1


def compile_all(folder: Path, architectures: list[str]) -> int:
    """Compile them with the real NVRTC to machine code; return 1 if one is refused."""
    from cupy._core import core
    from cupy_backends.cuda.libs import nvrtc

    includes = core.assemble_cupy_compiler_options(())
    refused = compiled = 0
    for path in sorted(folder.glob("*.json")):
        kernel = json.loads(path.read_text())
        options = [o for o in kernel["options"] if not o.startswith("-I") and "std=" not in o]
        for architecture in architectures:
            program = nvrtc.createProgram(kernel["source"], "kernel.cu", (), ())
            for name in kernel["names"]:
                nvrtc.addNameExpression(program, name)
            target = f"-arch=sm_{architecture}"
            try:
                nvrtc.compileProgram(
                    program, (target, "--device-as-default-execution-space", *includes, *options)
                )
                nvrtc.getCUBIN(program)
                compiled += 1
            except nvrtc.NVRTCError:
                refused += 1
                print(f"{path.name} for sm_{architecture}:\n{nvrtc.getProgramLog(program)[:500]}")
            nvrtc.destroyProgram(program)
    version = ".".join(map(str, nvrtc.getVersion()))
    print(f"NVRTC {version}: {compiled} compiled, {refused} refused")
    return 0 if compiled and not refused else 1


if __name__ == "__main__":
    action, folder, *rest = sys.argv[1:]
    sys.exit(record(Path(folder)) if action == "record" else compile_all(Path(folder), rest))
