"""What is the user's to correct in a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl_simulations.cluster.connecting import ClusterError
from p2pfl_simulations.kept_results import KeptResultsError
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.results.folder import RunFolderError
from p2pfl_simulations.scenario import ScenarioError
from p2pfl_simulations.studies.settings import StudyError

VIOLATED = 1  # A run that is checked, and something that must hold does not.


@contextmanager
def input_errors() -> Iterator[None]:
    """Turn what any of our libraries raises for wrong input into `BadInput`."""
    try:
        with peer_errors():
            yield
    except (
        ClusterError,
        KeptResultsError,
        LaunchError,
        RunFolderError,
        ScenarioError,
        StudyError,
    ) as error:
        raise BadInput(str(error)) from error
