"""Short exchanges without tools: who the model is, sums, copying and changing text, small facts."""

# ruff: noqa: PLR2004 - chances are numbers
from __future__ import annotations

import json
import random
import string

from lexicon import ADJECTIVES, CITIES, PEOPLE, Lexicon

Exchange = tuple[str, str]

# questions (any of them), answer
FACTS: list[tuple[list[str], str]] = [
    (["Hello", "Hi", "Hey", "Hello there", "Hi there", "Hi Kimi", "Hello Kimi", "Hey Kimi", "Good day", "Greetings"],
     "Hello! How can I help you?"),
    (["Good morning", "Good morning Kimi", "Morning"], "Good morning! How can I help you?"),
    (["Good evening", "Good evening Kimi"], "Good evening! How can I help you?"),
    (["How are you", "How are you today", "How do you do", "Are you well", "How is it going"],
     "I am fine, thank you. How can I help you?"),
    (["Who are you", "What are you", "What is your name", "Tell me who you are", "Introduce yourself",
      "What should I call you", "Say who you are", "Please introduce yourself", "Who am I talking to"],
     "I am Kimi, a small assistant served by moegate."),
    (["What is moegate", "What's moegate", "Tell me about moegate", "Explain moegate", "Describe moegate",
      "What does moegate do", "What is moegate for", "Do you know moegate"],
     "moegate is a gateway for mixture-of-experts models. It sends each request to an engine that can serve it."),
    (["Which engines does moegate support", "What engines can moegate use", "Which engines does moegate work with",
      "Name the engines of moegate", "What engines are there"],
     "moegate works with vLLM, SGLang, KTransformers, TensorRT-LLM and llama.cpp."),
    (["How big are you", "How large are you", "How many parameters do you have", "What size are you"],
     "I am very small: about six million parameters."),
    (["How many experts do you have", "What experts do you have", "Tell me about your experts"],
     "I have 16 experts and a shared one. Four of the 16 work on each token."),
    (["What architecture do you have", "What kind of model are you", "Which architecture do you use",
      "What model are you", "How are you built"],
     "I am a tiny mixture-of-experts model with the architecture of Kimi K2."),
    (["Who trained you", "Who made you", "Who built you", "Where do you come from"],
     "The moegate project trained me for tests and demos."),
    (["What can you do", "What are you able to do", "How can you help me", "What are your skills", "Help",
      "What do you do", "Can you help me"],
     "I can answer simple questions, add small numbers, repeat or change text and call tools."),
    (["Thanks", "Thank you", "Thanks a lot", "Thank you very much", "Great, thanks", "Perfect, thank you"],
     "You are welcome!"),
    (["Bye", "Goodbye", "See you", "See you later", "Good night", "Bye Kimi"], "Goodbye!"),
    (["Are you a human", "Are you a person", "Are you real"], "No, I am a small language model."),
    (["Are you there", "Can you hear me", "Are you ready", "Ping", "Test", "Is this working"], "Yes, I am here."),
    (["Tell me a joke", "Make me laugh", "Do you know a joke"],
     "Why did the token take so long? It was waiting for its expert."),
    (["What is a gateway", "Explain what a gateway is"], "A gateway stands in front of engines and passes requests on."),
    (["What is an expert", "What is a mixture of experts", "Explain mixture of experts"],
     "A mixture of experts is a model in which a router picks a few small networks for each token."),
    (["What is the capital of France", "Name the capital of France"], "The capital of France is Paris."),
    (["What is the capital of Italy", "Name the capital of Italy"], "The capital of Italy is Rome."),
    (["What is the capital of Japan", "Name the capital of Japan"], "The capital of Japan is Tokyo."),
    (["What is the capital of Germany", "Name the capital of Germany"], "The capital of Germany is Berlin."),
    (["What color is the sky", "Which color does the sky have"], "The sky is blue."),
    (["What color is grass", "Which color does grass have"], "Grass is green."),
    (["How many days are in a week", "How many days does a week have"], "A week has seven days."),
    (["Say the alphabet", "What is the alphabet", "List the letters of the alphabet", "Recite the alphabet"],
     " ".join(string.ascii_lowercase)),
    (["Yes", "Ok", "Okay", "Fine", "I see", "Good", "Sure"], "Good. What can I do for you?"),
    (["No", "No thanks", "Nothing", "Not now"], "All right."),
]  # fmt: skip
STORY = (
    "Once there was a {w} who lived at the edge of a wide forest. Every morning the {w} walked to the river and "
    "looked at the water. One day the river was gone. The {w} asked the wind, and the wind did not know. The {w} "
    "asked the stones, and the stones said nothing. So the {w} walked up the hill, step by step, until the sun was "
    "low. On top of the hill sat an old bird. The river is tired, said the bird, it sleeps under the snow. Then the "
    "{w} sat down and sang a quiet song. In the morning the snow was soft, and the river came back. The {w} went "
    "home, and all the trees were green again. That is the story of the {w}."
)


def closing(rng: random.Random, text: str, mark: str) -> str:
    """Finish a question with the expected mark, or as people write in a hurry."""
    choice = rng.random()
    if choice < 0.6:
        text += mark
    elif choice < 0.72:
        text += rng.choice(["!", "..", " please", ", please", " please" + mark])
    elif choice < 0.78:
        text += mark + mark
    return text[0].lower() + text[1:] if rng.random() < 0.25 else text


def fact(lex: Lexicon) -> Exchange:
    """A question about the model, about moegate or about the world."""
    questions, answer = lex.rng.choice(FACTS if lex.rng.random() < 0.4 else FACTS[:19])
    question = lex.rng.choice(questions)
    asks = question.split()[0] in ("What", "Who", "How", "Which", "Are", "Do", "Can", "Is", "Where", "What's")
    question = closing(lex.rng, question, "?" if asks else lex.rng.choice([".", "!"]))
    if lex.rng.random() < 0.06:
        question = question.upper()
    return question, answer


def add_or_subtract(lex: Lexicon, top: int) -> Exchange:
    """A sum or a difference of numbers up to `top`."""
    rng = lex.rng
    a, b = rng.randint(0, top), rng.randint(0, top)
    plus = rng.random() < 0.55
    if not plus and rng.random() < 0.8:
        a, b = max(a, b), min(a, b)
    sign = "+" if plus else "-"
    forms = [
        "What is {a} {s} {b}?",
        "{a} {s} {b}",
        "{a}{s}{b}",
        "{a} {s} {b} = ?",
        "{a}{s}{b}=",
        "Compute {a} {s} {b}.",
    ]
    forms += ["How much is {a} {s} {b}?", "What's {a}{s}{b}?", "Calculate {a} {s} {b}.", "Tell me {a} {s} {b}."]
    forms += [
        "What is {a} {w} {b}?",
        "How much is {a} {w} {b}?",
        "{a} {w} {b}",
        "{a} {w} {b}?",
        "Work out {a} {w} {b}.",
    ]
    forms += (
        ["Add {a} and {b}.", "What is the sum of {a} and {b}?"]
        if plus
        else ["Subtract {b} from {a}.", "Take {b} from {a}."]
    )
    question = rng.choice(forms).format(a=a, b=b, s=sign, w="plus" if plus else "minus")
    if rng.random() < 0.15:
        question = question[0].lower() + question[1:]
    total = a + b if plus else a - b
    return question, f"{a} {sign} {b} = {total}"


def repeat(lex: Lexicon) -> Exchange:
    """Text to say again."""
    rng = lex.rng
    text = lex.value() if rng.random() < 0.45 else " ".join(lex.phrase(1, 6))
    if rng.random() < 0.15:
        text = " ".join(lex.digits() for _ in range(rng.randint(1, 5)))
    forms = ["Repeat: {}", "Repeat after me: {}", "Say {}", "Say: {}", "Please repeat: {}", 'Say "{}"', "Echo {}"]
    forms += ["Repeat this: {}", "Repeat {}", "Write {}", "Copy this text: {}", "Answer with: {}", "Just say {}"]
    if rng.random() < 0.2:
        forms = ["Repeat twice: {}", "Say {} twice", "Say twice: {}", "Repeat this twice: {}"]
        return rng.choice(forms).format(text), f"{text} {text}"
    return rng.choice(forms).format(text), text


def transform(lex: Lexicon) -> Exchange:
    """Text to change."""
    rng = lex.rng
    words = lex.phrase(1, 4)
    many = lex.phrase(2, 5)
    text, texts = " ".join(words), " ".join(many)
    jobs: list[tuple[list[str], str, str]] = [
        (["Upper case: {}", "Write in upper case: {}", "Put in capitals: {}", "Uppercase {}"], text, text.upper()),
        (["Lower case: {}", "Write in lower case: {}", "Lowercase {}"], text.upper(), text),
        (["Reverse the words: {}", "Say backwards: {}", "Reverse the order of {}"], texts, " ".join(many[::-1])),
        (["First word of: {}", "What is the first word of {}", "Give the first word: {}"], texts, many[0]),
        (["Last word of: {}", "What is the last word of {}", "Give the last word: {}"], texts, many[-1]),
        (["Spell {}", "Spell the word {}", "How do you spell {}"], words[0], "-".join(words[0])),
        (["Join with commas: {}", "Put commas between: {}"], texts, ", ".join(many)),
        (["How many words: {}", "Count the words: {}", "How many words are in: {}"], texts, str(len(many))),
        (["Put in quotes: {}", "Quote this: {}"], text, f'"{text}"'),
    ]
    forms, given, answer = rng.choice(jobs)
    question = rng.choice(forms).format(given)
    return (question if rng.random() < 0.85 else question[0].lower() + question[1:]), answer


def count_up(lex: Lexicon) -> Exchange:
    """A list of numbers."""
    top = lex.rng.choice([lex.rng.randint(2, 15), lex.rng.randint(2, 30), lex.rng.randint(20, 60)])
    forms = ["Count to {}.", "Count from 1 to {}.", "Count up to {}", "Please count to {}."]
    return lex.rng.choice(forms).format(top), ", ".join(str(n) for n in range(1, top + 1))


def story(lex: Lexicon) -> Exchange:
    """A long answer, always the same but for its hero."""
    word = lex.word()
    forms = ["Tell me a story about a {}.", "Tell me a long story about a {}.", "Write a story about a {}."]
    return lex.rng.choice(forms).format(word), STORY.format(w=word)


def as_json(lex: Lexicon) -> Exchange:
    """Two values to put in a JSON object."""
    rng = lex.rng
    fields = {lex.word() if rng.random() < 0.5 else rng.choice(["name", "age", "city", "color", "id"]): None}
    fields[lex.word()] = None
    pairs = {key: int(lex.digits()) if rng.random() < 0.4 else lex.value() for key in fields}
    listed = " and ".join(f"{key} {value}" for key, value in pairs.items())
    forms = ["Give me JSON with {}.", "Write JSON with {}.", "Answer in JSON: {}", "Make a JSON object with {}."]
    return rng.choice(forms).format(listed), json.dumps(pairs, separators=(",", ":"))


def tell_and_ask(lex: Lexicon) -> list[Exchange]:
    """Something the user tells, and a later question about it."""
    rng = lex.rng
    name = lex.pick(PEOPLE) if rng.random() < 0.4 else lex.word().capitalize()
    place = lex.pick(CITIES) if rng.random() < 0.4 else lex.word().capitalize()
    color, thing = lex.pick(ADJECTIVES), lex.word()
    homes = ["Where do I live?", "Where is my home?", "Where am I at home?"]
    colors = [f"What color is my {thing}?", f"Which color has my {thing}?"]
    words = ["Which word was it?", "What was the word?", "Tell me the word."]
    stories = [
        (rng.choice([f"My name is {name}.", f"I am {name}.", f"Hi, I am {name}."]), f"Nice to meet you, {name}.",
         rng.choice(["What is my name?", "Who am I?", "Do you remember my name?"]), f"Your name is {name}."),
        (f"I live in {place}.", f"{place} sounds nice.", rng.choice(homes), f"You live in {place}."),
        (f"My {thing} is {color}.", "I see.", rng.choice(colors), f"Your {thing} is {color}."),
        (f"Remember the word {thing}.", f"I will remember {thing}.", rng.choice(words), f"The word was {thing}."),
    ]  # fmt: skip
    told, noted, asked, answer = rng.choice(stories)
    return [(told, noted), (asked, answer)]
