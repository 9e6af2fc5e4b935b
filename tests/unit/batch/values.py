"""Values as a user, or somebody hostile, may give them."""

from __future__ import annotations

from hypothesis import strategies as st

#: What an argument of a program can be: anything without a zero byte.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20
) | st.sampled_from(
    [
        "two words",
        "it's",
        'a "quoted" word',
        "`touch owned`",
        "$(touch owned)",
        "$HOME $$(HOME) $$$(HOME) $(ClusterId) $$([ClusterId])",
        "x\ntouch owned\n",
        "x\n#SBATCH --uid=0",
        "x\r\ntouch owned",
        "; touch owned #",
        "&& touch owned",
        "'; touch owned; '",
        '"; touch owned; "',
        "{{ 7 * 7 }}{% raw %}",
        "\\",
        "",
        "-n",
        "--",
        "*",
        "~",
        "%n",
        "λ-日本-\U0001f600",
        "\u2028touch owned\u0085touch owned",
    ]
)
ARGS = st.lists(TEXT, max_size=4)
