"""The answering process's parts in this process, on a tiny model: served equals trained, turns, memory, adapters."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from contracts.chat import AskChat, ChatPiece, TokenSaid, Turn
from contracts.recipes import SHIPPED_MODEL
from libs.lm import llama
from libs.lm.adapters import WEIGHTS, WHOLE
from libs.lm.chat import ChatFormat
from services.evaluator.answering import conversation
from services.evaluator.answering import llama as speaking
from services.evaluator.answering.shapes import TOO_LONG, Begin, Said, Spec, Stop, merged
from services.evaluator.domain import serving
from services.evaluator.domain.engines import LLAMA, TRANSFORMERS
from tests.integration.evaluator.conftest import adapter

torch = pytest.importorskip("torch")
ENGINES = [TRANSFORMERS, *([LLAMA] if llama.available() else [])]
TOLERANCES = {TRANSFORMERS: 1e-4, LLAMA: serving.TOLERANCES[LLAMA]}
HELLO = (Turn("user", "I owe 700 dollars. What is first?"),)


def asked(messages: tuple[Turn, ...] = HELLO, **changes: Any) -> AskChat:
    given = {"max_tokens": 12, "temperature": 0.0, "logprobs": True, "top_logprobs": 2} | changes
    return AskChat(tenant="acme", base_model=SHIPPED_MODEL, messages=messages, **given)


class Answering:
    """A room with its models, and everything that was said in it."""

    def __init__(
        self, base: Path, engine: str, *, precision: str = "float32", prompt_bytes: int = 2**22, threads: int = 1
    ) -> None:
        from services.evaluator.answering.models import Models
        from services.evaluator.answering.room import Room

        spec = Spec(
            threads=threads,
            precision=precision,
            kept=3,
            reply_limit=16,
            prompt_bytes=prompt_bytes,
            engine=engine,
            cache=str(base.parent / "gguf"),
        )
        self.base = str(base)
        self.engine = engine
        self.models = Models(spec)
        self.room = Room(spec, self.models, self._hear)
        self.said: list[Said] = []

    def _hear(self, said: Said) -> None:
        self.said.append(said)

    def begin(self, number: int, question: AskChat, folder: Path | None = None) -> None:
        self.room.hear(Begin(id=number, base=self.base, adapter=str(folder or ""), question=question))

    def until_empty(self) -> None:
        while not self.room.empty:
            self.room.round()

    def pieces(self, number: int) -> list[ChatPiece]:
        return [each.piece for each in self.said if each.id == number and each.piece]

    def text(self, number: int) -> str:
        return "".join(each.text for each in self.pieces(number))

    def tokens(self, number: int) -> list[TokenSaid]:
        return [token for each in self.pieces(number) for token in each.tokens]

    def reply(self, question: AskChat, folder: Path | None = None) -> list[ChatPiece]:
        number = len(self.said) + 1000
        self.begin(number, question, folder)
        self.until_empty()
        return self.pieces(number)


@pytest.fixture(scope="module")
def base(models: Path) -> Path:
    return models / SHIPPED_MODEL


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four adapters that each say something else."""
    folder = tmp_path_factory.mktemp("adapters")
    return [adapter(folder / str(number), strength) for number, strength in enumerate((0.2, 0.35, 0.5, 0.7))]


@pytest.fixture(params=ENGINES)
def answering(base: Path, request: pytest.FixtureRequest) -> Answering:
    return Answering(base, request.param)


def _as_trained(base: Path, folder: Path, ids: list[int], count: int) -> tuple[list[int], Any]:
    """Load an adapter the way Hugging Face does and decode greedily: the tokens, and log-probabilities for each."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, folder).eval()
    with torch.inference_mode():
        whole = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=count, do_sample=False)[0].tolist()
        logs = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return whole[len(ids) :], logs[len(ids) - 1 :]


def _agreed(tokens: list[TokenSaid], chat: ChatFormat, expected: list[int], logs: Any, tolerance: float) -> int:
    """Count the tokens that are as expected; where they end, another was as good as equally likely."""
    same = [token.octets == chat.spelled(each) for token, each in zip(tokens, expected, strict=True)]
    count = same.index(False) if False in same else len(same)
    if count < len(same):
        best, second = logs[count].topk(2).values.tolist()
        assert best - second < 2 * tolerance
    return count


@pytest.mark.parametrize(("engine", "merged"), [(TRANSFORMERS, True), (LLAMA, True), (LLAMA, False)])
def test_served_equals_trained(
    base: Path, adapters: list[Path], engine: str, merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy text and log-probabilities are those of the adapter as training left it, also among other adapters."""
    if engine not in ENGINES:
        pytest.skip("this machine has no llama.cpp")
    if not merged:
        monkeypatch.setattr(speaking, "MERGED", 0)
    answering = Answering(base, engine)
    chat = ChatFormat.load(base)
    long = (Turn("user", "I owe 700 dollars and cannot sleep. " * 12),)
    tolerance = TOLERANCES[answering.engine]
    for folder, said in ((adapters[0], HELLO), (adapters[1], HELLO), (adapters[0], long)):
        ids = chat.prompt([{"role": "user", "content": said[0].content}])
        expected, logs = _as_trained(base, folder, ids, 12)
        pieces = answering.reply(asked(said), folder)
        tokens = [token for piece in pieces for token in piece.tokens]
        agreed = _agreed(tokens, chat, expected, logs, tolerance)
        assert agreed == 12 or (answering.engine == LLAMA and agreed > 0)
        assert "".join(piece.text for piece in pieces).startswith(chat.text(expected[:agreed]))
        figures = [float(logs[at, token]) for at, token in enumerate(expected[:agreed])]
        assert [token.logprob for token in tokens[:agreed]] == pytest.approx(figures, abs=tolerance)
        assert all(token.top[0].logprob == pytest.approx(token.logprob) for token in tokens), "greedy is the likeliest"


def test_the_base_answers_as_itself_beside_its_adapters(answering: Answering, adapters: list[Path]) -> None:
    alone = "".join(piece.text for piece in answering.reply(asked()))
    tuned = "".join(piece.text for piece in answering.reply(asked(), adapters[3]))
    assert "".join(piece.text for piece in answering.reply(asked())) == alone != tuned


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_several_speak_in_turns_and_each_says_what_it_would_alone(
    base: Path, adapters: list[Path], engine: str, threads: int
) -> None:
    answering = Answering(base, engine, threads=threads)
    who = [None, adapters[0], adapters[1], adapters[0]]
    alone = [[token for piece in answering.reply(asked(), folder) for token in piece.tokens] for folder in who]
    answering.said.clear()
    for number, folder in enumerate(who):
        answering.begin(number, asked(), folder)
    answering.until_empty()
    assert [answering.tokens(number) for number in range(4)] == alone
    ends = [at for at, said in enumerate(answering.said) if said.piece and said.piece.finish]
    firsts = [next(at for at, said in enumerate(answering.said) if said.id == number) for number in range(4)]
    assert max(firsts) < min(ends), "nobody waits for another's whole reply"


@pytest.mark.skipif(LLAMA not in ENGINES, reason="this machine has no llama.cpp")
@pytest.mark.parametrize(("threads", "share"), [(2, 1), (5, 2)])
def test_two_speak_at_the_same_time_and_say_the_same_to_the_last_bit(
    base: Path, adapters: list[Path], threads: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One speaks while the other reads its prompt or speaks: each of some turns waits for the other's, in vain if
    they came one after the other. The threads are shared out."""
    answering, apart = (Answering(base, LLAMA, threads=threads) for _ in range(2))
    long = asked((Turn("user", "I owe 700 dollars and cannot sleep. " * 12),))
    who = [(asked(), adapters[0]), (long, adapters[1])]
    alone = [[token for piece in apart.reply(*each) for token in piece.tokens] for each in who]
    both, shares, read = threading.Barrier(2), [], llama.Memory.read

    def meet(memory: llama.Memory, ids: list[int], most: int = 0) -> Any:
        if most and shares.count((memory, most)) < 5:
            shares.append((memory, most))
            both.wait(timeout=60)
        return read(memory, ids, most)

    monkeypatch.setattr(llama.Memory, "read", meet)
    for number, each in enumerate(who):
        answering.begin(number, *each)
    answering.until_empty()
    assert [answering.tokens(number) for number in range(2)] == alone
    assert [most for _, most in shares] == [share] * 10
    assert answering.reply(*who[1])[-1].recalled_tokens >= 128, "what was read while another spoke is kept too"


@pytest.mark.skipif(LLAMA not in ENGINES, reason="this machine has no llama.cpp")
def test_one_that_nobody_reads_any_more_leaves_the_others_to_their_end(base: Path, adapters: list[Path]) -> None:
    answering = Answering(base, LLAMA, threads=2)
    alone = [token for piece in answering.reply(asked(), adapters[1]) for token in piece.tokens]
    for number in range(3):
        answering.begin(number, asked(), adapters[number])
    for _ in range(5):
        answering.room.round()
    answering.room.hear(Stop(id=0))
    heard = len(answering.pieces(0))
    answering.until_empty()
    assert len(answering.pieces(0)) == heard
    assert answering.tokens(1) == alone
    assert answering.pieces(2)[-1].finish == "length"


@pytest.mark.skipif(LLAMA not in ENGINES, reason="this machine has no llama.cpp")
def test_what_one_model_learnt_about_threads_those_on_the_same_base_know(
    base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(speaking.Pace):
        def took(self, seconds: float) -> None:
            heard.append(self)

    heard: list[Heard] = []
    monkeypatch.setattr(speaking, "Pace", Heard)
    answering = Answering(base, LLAMA)
    for folder in (adapters[0], None, adapters[1]):
        answering.reply(asked(), folder)
    assert len(heard) == 33, "each token but the first, which the prompt gave"
    assert len(set(heard)) == 1


def test_three_models_are_kept_and_a_fourth_waits_for_one_that_speaks(
    answering: Answering, base: Path, adapters: list[Path]
) -> None:
    for number, folder in enumerate(adapters):
        answering.begin(number, asked(max_tokens=4 + number), folder)
    answering.until_empty()
    assert all(answering.pieces(number)[-1].finish == "length" for number in range(4))
    assert [key.adapter for key in answering.models.kept] == [str(folder) for folder in adapters[1:]]
    begun = next(at for at, said in enumerate(answering.said) if said.id == 3)
    ended = next(at for at, said in enumerate(answering.said) if said.id == 0 and said.piece and said.piece.finish)
    assert begun > ended
    assert "".join(piece.text for piece in answering.reply(asked(max_tokens=4), adapters[0])) == answering.text(0)


def test_pieces_come_apart_and_only_the_first_and_the_last_never_wait(
    answering: Answering, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "PAUSE", 0.0)
    each = answering.reply(asked(), adapters[3])
    monkeypatch.setattr(conversation, "PAUSE", 60.0)
    accepted, first, last = answering.reply(asked(), adapters[3])
    assert (accepted, first) == (each[0], each[1])
    assert (merged((first, last)).text, last.finish) == (merged(each).text, "length")
    assert len(each) > 3


def test_equal_seeds_draw_equal_replies_and_others_others(answering: Answering) -> None:
    def drawn(seed: int) -> str:
        return "".join(piece.text for piece in answering.reply(asked(temperature=1.0, top_p=0.95, seed=seed)))

    assert drawn(7) == drawn(7) != drawn(8)


def test_a_reply_ends_before_a_stop_string_and_at_its_limits(answering: Answering, adapters: list[Path]) -> None:
    whole = "".join(piece.text for piece in answering.reply(asked(), adapters[3]))
    stop = whole[5:8]
    assert whole.index(stop)
    pieces = answering.reply(asked(stop=(stop,)), adapters[3])
    assert ("".join(piece.text for piece in pieces), pieces[-1].finish) == (whole.split(stop)[0], "stop")
    pieces = answering.reply(asked(max_tokens=0))
    assert (pieces[-1].completion_tokens, pieces[-1].finish) == (16, "length")
    pieces = answering.reply(asked((Turn("user", "word " * 470),), max_tokens=100))
    assert pieces[-1].prompt_tokens + pieces[-1].completion_tokens == 512


def _session(turns: int) -> list[AskChat]:
    """Return the questions of a session: each repeats the one before, its answer, and goes on."""
    said = [Turn("system", "You are a kind coach. " * 30)]
    found = []
    for number in range(turns):
        said.append(Turn("user", f"Question {number}: what of my {number * 700} dollars? " * 4))
        found.append(asked(tuple(said)))
        said.append(Turn("assistant", f"Answer {number}, a small one."))
    return found


@pytest.mark.parametrize(
    ("engine", "precision"), [(TRANSFORMERS, "float32"), (TRANSFORMERS, "bfloat16"), (LLAMA, "float32")]
)
def test_what_was_read_before_is_not_read_again_and_changes_no_reply(
    base: Path, adapters: list[Path], engine: str, precision: str
) -> None:
    """Text and log-probabilities are equal to the last bit, also with other models' prompts in between."""
    recalling = Answering(base, engine, precision=precision)
    forgetful = Answering(base, engine, precision=precision, prompt_bytes=0)
    for question in _session(3):
        for folder in (adapters[0], None, adapters[1]):
            again, anew = recalling.reply(question, folder), forgetful.reply(question, folder)
            assert (merged(again).text, merged(again).tokens) == (merged(anew).text, merged(anew).tokens)
            assert anew[-1].recalled_tokens == 0
    assert again[-1].recalled_tokens >= 128
    assert again[-1].recalled_tokens % 128 == 0
    streamed = [piece for piece in recalling.reply(question, adapters[1]) if piece.text]
    assert len(streamed) > 1
    assert "".join(each.text for each in streamed) == "".join(each.text for each in again)


def test_what_is_wrong_with_one_conversation_ends_that_one_alone(
    answering: Answering, adapters: list[Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(adapters[0], tmp_path / "broken")
    (broken / WEIGHTS).write_bytes(b"\0" * 64)
    answering.begin(1, asked(), adapters[1])
    answering.begin(2, asked(), broken)
    answering.begin(3, asked((Turn("user", "word " * 600),)), adapters[1])
    answering.until_empty()
    failures = {said.id: said.failure.reason for said in answering.said if said.failure}
    assert failures == {2: "bad_adapter", 3: TOO_LONG}
    assert answering.pieces(1)[-1].finish


def test_a_conversation_that_nobody_reads_stops(answering: Answering) -> None:
    answering.begin(1, asked(max_tokens=16))
    answering.room.round()
    answering.room.hear(Stop(id=1))
    assert answering.room.empty


def test_a_model_trained_as_a_whole_speaks_beside_its_base(answering: Answering, base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    save_file({name: tensor * 1.5 if "mlp" in name else tensor for name, tensor in weights.items()}, tmp_path / WHOLE)
    whole, alone = answering.reply(asked(), tmp_path), answering.reply(asked())
    assert [piece.tokens for piece in whole] != [piece.tokens for piece in alone]
    assert merged(answering.reply(asked(), tmp_path)) == merged(whole)
