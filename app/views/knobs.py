"""Which knobs matter?"""

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from app import load
else:
    import load


def show(study: load.Study) -> None:
    """The page."""
    st.text(f"{study.name}: this page is being written.")
