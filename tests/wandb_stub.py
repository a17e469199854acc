"""A W&B server in miniature: what wandb's own client sends when it uploads runs is
kept, and faults can be injected.
"""

import collections
import json
import re
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

API_KEY = "0123456789abcdef" * 2 + "canaries"  # in no file, ever


class Received:
    """One run as the server knows it."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.lines: dict[str, dict[int, str]] = collections.defaultdict(dict)
        self.exit_code: int | None = None
        self.is_preempting = False

    def raw(self, name: str) -> list[str]:
        return [line for _, line in sorted(self.lines[name].items())]

    def file(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.raw(name)]

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.file("wandb-history.jsonl")

    @property
    def summary(self) -> dict[str, Any]:
        return self.file("wandb-summary.json")[-1] if self.lines["wandb-summary.json"] else {}

    @property
    def config(self) -> dict[str, Any]:
        return {
            name: item["value"]
            for name, item in json.loads(self.fields["config"]).items()
            if name != "_wandb"
        }


@dataclass
class Artifact:
    """One of W&B's artifacts: who made it, who used it, and its files by name."""

    given: dict[str, Any]
    id: str
    state: str = "PENDING"
    files: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)

    @property
    def metadata(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.given.get("metadata") or "{}")
        return content


class WandbStub:
    """`runs` by id; `artifacts` by name; `stored` files; `bodies` of all requests;
    `views`, saved workspaces and reports.

    `unknown` operations, of which there should be none; `faults`: (part of a path or
    operation, status).
    """

    def __init__(self) -> None:
        self.runs: dict[str, Received] = collections.defaultdict(Received)
        self.artifacts: dict[str, Artifact] = {}
        self.stored: dict[str, bytes] = {}
        self.bodies: list[bytes] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.delay = 0.0  # seconds before every answer
        self.alerts: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self.faults: list[tuple[str, int]] = []
        self.deleted: dict[str, int] = {}  # run id -> the status that it is refused with
        self.lock, self.address = RLock(), ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WANDB_BASE_URL": self.address,
            "WANDB_API_KEY": API_KEY,
            "WANDB_ERROR_REPORTING": "false",
            "NO_PROXY": "127.0.0.1",
        }

    def fault(self, operation: str) -> int | None:
        for number, (part, status) in enumerate(self.faults):
            if part in operation:
                del self.faults[number]
                return status
        return None

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        entity = {"id": "e", "name": "someone"}
        project = {"id": "p", "name": given.get("project") or "going-deeper", "entity": entity}
        if operation in ("Viewer", "GetDefaultEntity"):
            return {
                "viewer": {
                    "id": "u",
                    "entity": "someone",
                    "username": "someone",
                    "flags": "{}",
                    "teams": {"edges": []},
                }
            }
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if operation == "UpsertBucket":
            name = given["name"] or given["id"]
            is_new = name not in self.runs
            run = self.runs[name]
            run.fields.update({key: value for key, value in given.items() if value is not None})
            bucket = {
                "id": name,
                "name": name,
                "displayName": name,
                "project": project,
                "config": run.fields.get("config", "{}"),
            }
            return {
                "upsertBucket": {
                    "inserted": is_new,
                    "bucket": {**bucket, "historyLineCount": len(run.history)},
                }
            }
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": self._resumed(given["name"])}}
        if operation == "CreateRunFiles":
            files = [
                {"name": name, "uploadUrl": f"{self.address}/storage/{name}"}
                for name in given["files"]
            ]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if operation in (
            "OrganizationCoreWeaveOrganizationID",
            "XXHashDigestsEnabled",
            "FetchOrgEntityFromEntity",
        ):
            return {"entity": None}
        if (
            method := getattr(
                self, "_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower(), None
            )
        ) is not None:
            answered: dict[str, Any] = method(given.get("input", given))
            return answered
        self.unknown.append(operation)
        return {}

    def _artifact(self, identifier: str) -> Artifact:
        return next(artifact for artifact in self.artifacts.values() if artifact.id == identifier)

    def _upload_to(self, path: str) -> dict[str, Any]:
        return {"id": path, "uploadUrl": f"{self.address}/storage/{path}", "uploadHeaders": []}

    def _create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["artifactCollectionName"]
        version = Artifact(given, f"{name}-{given['digest'][:8]}")
        if name not in self.artifacts or self.artifacts[name].id != version.id:
            self.artifacts[name] = version
        artifact = self.artifacts[name]
        return {
            "createArtifact": {
                "artifact": {
                    "id": artifact.id,
                    "state": artifact.state,
                    "artifactSequence": {"latestArtifact": None},
                }
            }
        }

    def _create_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        file = self._upload_to(f"{given['artifactID']}/{given['name']}")
        return {
            "createArtifactManifest": {
                "artifactManifest": {"id": given["artifactID"], "file": file}
            }
        }

    def _update_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        file = self._upload_to(f"{given['artifactManifestID']}/wandb_manifest.json")
        return {
            "updateArtifactManifest": {
                "artifactManifest": {"id": given["artifactManifestID"], "file": file}
            }
        }

    def _create_artifact_files(self, given: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for file in given["artifactFiles"]:
            self._artifact(file["artifactID"]).files.add(file["name"])
            path = f"{file['artifactID']}/{file['name']}"
            more = {
                "storagePath": path,
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            edges.append({"node": {**self._upload_to(path), **more}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])
        artifact.state = "COMMITTED"
        return {
            "commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.given["digest"]}}
        }

    def _use_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self._artifact(given["artifactID"]).users.add(given["runName"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def _artifact_type(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _upsert_view2(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("name") or f"unnamed-{len(self.views)}"
        is_new = name not in self.views
        self.views[name] = {
            "title": given["displayName"],
            "type": given["type"],
            "spec": json.loads(given["spec"]),
        }
        return {"upsertView": {"inserted": is_new, "view": {"id": f"id-{name}", "name": name}}}

    def _upsert_view(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["id"].removeprefix("id-") if given.get("id") else given["name"]
        answered = self._upsert_view2({**given, "name": name})
        kept = {key: given[key] for key in ("type", "displayName", "description", "spec")}
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        answered["upsertView"]["view"] |= {
            **kept,
            "project": project,
            "updatedAt": "2026-01-01T00:00:00Z",
        }
        return answered

    def _notify_scriptable_run_alert(self, given: dict[str, Any]) -> dict[str, Any]:
        self.alerts.append(given)
        return {"notifyScriptableRunAlert": {"success": True}}

    def _create_project(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"upsertModel": {"inserted": True, "project": {"id": "p"}}}

    def _get_projects(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": []}}

    def _project_internal_id(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "p", "internalId": "1"}}

    def _resumed(self, name: str) -> dict[str, Any] | None:
        if name not in self.runs:
            return None
        run = self.runs[name]
        counts = {
            f"{kind}LineCount": len(run.lines[f"wandb-{kind}.jsonl"])
            for kind in ("history", "events")
        }
        tails = {
            f"{kind}Tail": json.dumps(run.raw(f"wandb-{kind}.jsonl")[-1:])
            for kind in ("history", "events")
        }
        more = {
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }
        return {
            "id": name,
            "name": name,
            "displayName": name,
            "config": run.fields.get("config", "{}"),
            **counts,
            **tails,
            **more,
        }

    def delete(self, name: str, status: int) -> None:
        """Delete a run as a user does on the web page: the id is refused for ever."""
        with self.lock:
            self.runs.pop(name, None)
            self.deleted[name] = status

    def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self._resumed(given["name"])
        return {"project": {"run": run and {**run, "projectId": "1", "state": "finished"}}}

    def _run_history_keys(self, given: dict[str, Any]) -> dict[str, Any]:
        rows = self.runs[given["name"]].history if given["name"] in self.runs else []
        last = rows[-1]["_step"] if rows else -1
        return {"project": {"run": {"historyKeys": {"lastStep": last}}}}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        run = self.runs[name]
        for file, chunk in (body.get("files") or {}).items():
            for number, line in enumerate(chunk["content"], start=chunk["offset"]):
                run.lines[file][number] = line
        run.is_preempting |= bool(body.get("preempting"))
        run.exit_code = body.get("exitcode", run.exit_code)
