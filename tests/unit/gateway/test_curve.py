"""The result file of a job."""

from services.gateway.domain.curve import as_result


def test_openais_columns_come_first_and_by_their_names() -> None:
    curve = (
        "step,train_loss,eval_loss,lr,token_accuracy,eval_token_accuracy\r\n"
        "1,2.5,,0.0002,0.5,\r\n2,2.25,1.75,0.0001,0.625,0.75\r\n"
    )
    assert as_result(curve) == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,lr\n"
        "1,2.5,0.5,,,0.0002\n2,2.25,0.625,1.75,0.75,0.0001\n"
    )


def test_a_column_the_run_did_not_write_is_not_made_up() -> None:
    assert as_result("step,train_loss\n1,2.0\n") == "step,train_loss\n1,2.0\n"
    assert as_result("") == "\n"


def test_a_result_file_holds_figures_and_nothing_else() -> None:
    curve = 'step,train_loss,note,=cmd()\n1,2.5e-3,=HYPERLINK("https://evil.example"),1\n2,@SUM(A1),+1,-3\n3\n'
    assert as_result(curve) == "step,train_loss,note\n1,2.5e-3,\n2,,+1\n3,,\n"
