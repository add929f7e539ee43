"""Tables of records: pandas, which may be absent, is imported when the first one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def data_frame(values: Any, columns: list[str] | None = None) -> pd.DataFrame:
    r"""Returns a table.

    Args:
        values (Any): what pandas makes a table of: columns by name, rows, or a 2-D array.
        columns (list of str, optional): their names, where ``values`` does not say them.

    Raises:
        ImportError: if pandas is not installed; it names the extra that has it.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'ecco-captum[data]'") from error
    return pandas.DataFrame(values, columns=columns)
