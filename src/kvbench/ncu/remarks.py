"""What the lines around the tables say: version, errors, reasons for an empty profile."""

import re

PERMISSION = (
    "no permission to read GPU counters (ERR_NVGPUCTRPERM): profile as root, or load the driver "
    "with NVreg_RestrictProfilingToAdminUsers=0"
)
_DENIED = ("ERR_NVGPUCTRPERM", "permission to access NVIDIA GPU Performance Counters")
_VERSION = re.compile(r"nsight[-_ ]compute\D{0,40}?(20\d\d\.\d+(?:\.\d+)*)", re.I)
_PAGE = re.compile(r"Section: \w|Metric Name +Metric Unit +(Metric Value|Minimum)")
_BANNER_VERSION = re.compile(r"Version (20\d\d\.\d+(?:\.\d+)*)")  # two lines below ncu's name


class Remarks:
    """Collects remarks from every line that is no table row."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.errors: list[str] = []  # texts of ==ERROR== lines, each once
        self.refused = False  # ncu says that the driver denied the counters
        self.header = False  # there is a table, be it empty
        self.unterminated = False  # the last row has no newline
        self._denied = False  # any line says so
        self._nothing_profiled = False
        self._connected = False
        self._any_text = False
        self._is_report = False
        self._is_page = False  # ncu's page for people to read
        self._banner = False

    def read(self, line: str) -> None:
        """Take one line."""
        text = line.strip()
        if not text:
            return
        self._is_report |= not self._any_text and text.startswith("NVR\0")
        self._any_text = True
        self._is_page |= _PAGE.match(text) is not None
        self._banner |= "Nsight Compute Command Line Profiler" in text
        denied = any(sign in text for sign in _DENIED)
        self._denied |= denied
        if not text.startswith(("==ERROR==", "==WARNING==")):  # those speak of other versions too
            found = _VERSION.search(text) or (self._banner and _BANNER_VERSION.match(text))
            self.version = self.version or (found[1] if found else None)
            self._connected |= text.startswith("==PROF== Connected")
            return
        self.refused |= denied
        self._nothing_profiled |= "No kernels were profiled" in text
        error = text.removeprefix("==ERROR==").strip()
        if text.startswith("==ERROR==") and error and len(self.errors) < 8:
            self.errors += [error] if error not in self.errors else []

    def reason(self) -> str:
        """Why there is nothing to add up, as far as the file says."""
        if self._denied:
            return PERMISSION
        reported = f'ncu reported "{self.errors[0]}"' if self.errors else ""
        if self._nothing_profiled:
            return "no kernels were profiled" + (f"; {reported}" if reported else "")
        if reported:
            return reported
        if self.header:
            return "the table has no rows"
        if self._is_page:
            return "this is ncu's text report: export it again with --csv --page raw"
        if self._connected:
            return "no table in the file: ncu connected, but printed no profile"
        if not self._any_text:
            return "the file is empty"
        if self._is_report:
            return "this is a report: export it first, ncu --import FILE --csv --page raw"
        return "no Nsight Compute table in the file (export one with: ncu --csv --page raw)"
