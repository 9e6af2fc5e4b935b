"""JupyterLab in a browser: what a user looks at and clicks on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Remote
    from selenium.webdriver.remote.webelement import WebElement

#: No claim: a browser on a busy machine takes its time.
SECONDS = 120

#: The page draws itself anew at any moment.
IN_BETWEEN = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)

CLUSTER = ".dask-ClusterListingItem"
PANES = ".dask-DashboardListing-item button:enabled"
INPUT = ".jp-Notebook .jp-mod-active .jp-InputArea-editor .cm-content"

#: The lengths of the columns of what a page of bokeh shows, the longest first.
SHOWN = """
const lengths = [];
for (const document of (window.Bokeh ? Bokeh.documents : []))
    for (const model of document._all_models.values())
        if (model.data && typeof model.data == "object")
            lengths.push(Math.max(0, ...Object.values(model.data)
                .map(column => (column && column.length) || 0)));
return Math.max(0, ...lengths);
"""


class Lab:
    """A JupyterLab in a browser.

    Parameters
    ----------
    driver : Remote
    address : str
        With the token.
    """

    def __init__(self, driver: Remote, address: str) -> None:
        self.driver = driver
        # Without what was open when somebody was here before.
        driver.get(f"{address}&reset")
        self.until(lambda: self.all(".jp-Launcher"))
        # The news of the project, which may be offered.
        for button in self.all(".Toastify button"):
            if button.text == "No":
                button.click()

    def back(self) -> None:
        """Look at the whole page again, after a pane."""
        self.driver.switch_to.default_content()

    def shut_down(self) -> None:
        """End JupyterLab by its menu."""
        self.click(".lm-MenuBar-item", "File")
        self.click(".lm-Menu-item[data-command='filemenu:shutdown']")
        self.click(".jp-Dialog-button.jp-mod-accept", "Shut Down")
        self.until(lambda: any("stopped" in one.text for one in self.all(".jp-Dialog")))

    # --- looks ----------------------------------------------------------------

    def all(self, selector: str) -> list[WebElement]:
        """Return what a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, look: Callable[[], Any]) -> Any:
        """Wait until a look finds something, and return it."""

        def tried(_: Remote) -> Any:
            return look()

        waits = WebDriverWait(self.driver, SECONDS, 0.2, IN_BETWEEN)
        return waits.until(tried)

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first thing of a kind that has a text."""

        def clicked() -> bool:
            for one in self.all(selector):
                if text.lower() in one.text.lower() and one.is_displayed():
                    one.click()
                    return True
            return False

        self.until(clicked)

    # --- Dask's side bar ------------------------------------------------------

    def clusters(self) -> list[str]:
        """Open the side bar, and return the texts of the clusters that it lists."""
        self.open_side_bar()
        self.until(lambda: self.all(CLUSTER))
        return [one.text for one in self.all(CLUSTER)]

    def open_side_bar(self) -> None:
        """Open Dask's side bar."""
        self.click('.jp-SideBar [data-id="dask-dashboard-launcher"]')
        self.until(lambda: self.all(".dask-ClusterListing"))

    def pane(self, title: str) -> None:
        """Open a pane of the chosen cluster, and look at it from now on."""
        self.click(PANES, title)
        name = title.lower().replace(" ", "-")
        frame = self.until(lambda: self.all(f"iframe[src*='{name}']"))[0]
        self.driver.switch_to.frame(frame)
        self.until(lambda: self.all(".bk-Figure"))

    def shown(self) -> int:
        """Return how many things the page of bokeh that is looked at shows."""
        found: int = self.driver.execute_script(SHOWN)
        return found

    def picture(self, name: str) -> bytes:
        """Return a screenshot of an open pane."""
        (frame,) = self.all(f"iframe[src*='{name}']")
        png: bytes = frame.screenshot_as_png
        return png

    def new_cluster(self) -> str:
        """Press NEW, and return the text of the cluster that is then listed."""
        self.open_side_bar()
        self.click(".dask-DaskClusterManager .jp-ToolbarButtonComponent", "NEW")
        found: str = self.until(lambda: self.all(CLUSTER))[0].text
        return found

    def close_cluster(self) -> None:
        """Press SHUTDOWN, and wait until no cluster is listed."""
        self.click(f"{CLUSTER} button", "SHUTDOWN")
        self.until(lambda: not self.all(CLUSTER))

    # --- notebooks ------------------------------------------------------------

    def notebook(self) -> None:
        """Open a new notebook with the first kernel."""
        self.click(".jp-LauncherCard[data-category='Notebook']", "Python 3")
        self.until(lambda: self.all(INPUT))
        # The kernel is there.
        self.until(lambda: "| Idle" in self.all("#jp-main-statusbar")[0].text)

    def run(self, code: str) -> None:
        """Type lines into the notebook's cell, and run it."""
        self.click(INPUT)
        keys = self.driver.switch_to.active_element
        for line in code.splitlines():
            # The editor indents and closes brackets by itself.
            keys.send_keys(Keys.HOME, line, Keys.ENTER)
        keys.send_keys(Keys.SHIFT, Keys.ENTER)

    def output(self, text: str) -> str:
        """Return what the notebook has put out, once a text is in it."""

        def look() -> str:
            said = "\n".join(one.text for one in self.all(".jp-OutputArea-output"))
            return said if text in said else ""

        found: str = self.until(look)
        return found

    def links(self) -> list[str]:
        """Return where the links in the notebook's output lead."""
        found = self.until(lambda: self.all(".jp-OutputArea-output a"))
        return [one.get_attribute("href") or "" for one in found]
