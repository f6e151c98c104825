"""What the lessons use: two programs in one notebook, every call recorded, and the kernel's own view beside it."""

from helpers import callers, framing
from helpers import recorded_select as select
from helpers import recorded_socket as socket
from helpers.claims import Claims, Errors
from helpers.machine import check_machine, optional_programs
from helpers.notebook import NoStage, ask_for_a_stage
from helpers.predict import predict
from helpers.programs import Program, compile_c
from helpers.race import hold, race
from helpers.serving import serving
from helpers.stage import Stage, StillWaiting

__all__ = [
    "Claims",
    "Errors",
    "NoStage",
    "Program",
    "Stage",
    "StillWaiting",
    "callers",
    "check_machine",
    "compile_c",
    "framing",
    "hold",
    "optional_programs",
    "predict",
    "race",
    "select",
    "serving",
    "socket",
]

ask_for_a_stage()
